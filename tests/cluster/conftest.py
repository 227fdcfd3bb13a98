"""Fixtures of the cluster tests: one control plane and one node for the session, a namespace for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cluster import Cluster
from cluster_binaries import Binaries, BinariesUnavailable, ensure_binaries, ensure_clients, missing_prerequisite
from control_plane import ControlPlane
from operator_process import OperatorProcess, grant_rights, install_crd
from process_node.addresses import AddressesUnavailable
from process_node.node import ProcessNode
from real_inputs import TEACHER_KEY
from scripted_image import scripted_image
from server_process import server_process
from waiting import wait_until

CI = os.environ.get("CI") == "true"
OTHER_CLUSTER = os.environ.get("KUBECONFIG_TEST")
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder, so that `-m "not cluster"` leaves them out; without Go, skip them in one line."""
    missing = None if CI or OTHER_CLUSTER else missing_prerequisite()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("cluster")
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Binaries:
    """The programs, built and fetched when they are missing."""
    try:
        ensure = ensure_clients if OTHER_CLUSTER else ensure_binaries
        return ensure(lambda text: print(text, flush=True))
    except BinariesUnavailable as problem:
        _unavailable(problem)


@pytest.fixture(scope="session")
def control_plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real control plane; with KUBECONFIG_TEST=<file> that cluster, which the tests then share with others."""
    folder = tmp_path_factory.mktemp("cluster")
    if OTHER_CLUSTER:
        yield Cluster(Path(OTHER_CLUSTER), binaries, folder)
        return
    with ControlPlane(binaries, folder) as plane:
        yield plane


@pytest.fixture(scope="session")
def process_node(control_plane: Cluster) -> Iterator[ProcessNode | None]:
    """The node that runs pods as processes; none where the cluster has nodes of its own."""
    if not isinstance(control_plane, ControlPlane):
        yield None
        return
    try:
        with ProcessNode(control_plane, control_plane.folder / "node") as started:
            yield started
    except AddressesUnavailable as problem:
        _unavailable(problem)


@pytest.fixture
def node(process_node: ProcessNode | None) -> Iterator[ProcessNode]:
    """The process node, for tests that break it or look inside; whatever a test broke is whole again after it."""
    if process_node is None:
        pytest.skip("needs the process node, and KUBECONFIG_TEST names a cluster with nodes of its own")
    yield process_node
    process_node.heal()


@pytest.fixture(scope="session")
def kubectl(control_plane: Cluster) -> Callable[..., str]:
    """Run kubectl as administrator: `kubectl("-n", namespace, "get", "pods")` returns what it prints."""
    return control_plane.kubectl


@pytest.fixture
def namespace(control_plane: Cluster, process_node: ProcessNode | None) -> Iterator[str]:
    """A fresh namespace that admits only pods of the restricted security level."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    control_plane.kubectl("label", "namespace", name, RESTRICTED)
    wait_until(lambda: control_plane.get("serviceaccount", "default", name), what=f"the service account of {name}")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def service_url(control_plane: Cluster) -> Callable[..., str]:
    """Where a Service can be reached, once it has a ready endpoint: `service_url(namespace, name, port_name)`."""
    return control_plane.service_url


@pytest.fixture(scope="session")
def crd(control_plane: Cluster) -> None:
    """The chart's CRD."""
    install_crd(control_plane)


@pytest.fixture
def start_operator(
    control_plane: Cluster, crd: None, namespace: str, tmp_path: Path
) -> Iterator[Callable[..., OperatorProcess]]:
    """Start an operator for the test's namespace and wait until it leads: `start_operator(DISTILLERY_WORKERS="1")`."""
    kubeconfig = grant_rights(control_plane, namespace, [namespace])
    started: list[OperatorProcess] = []

    def start(*, leading: bool = True, kubeconfig: Path = kubeconfig, **settings: str) -> OperatorProcess:
        log = tmp_path / f"operator-{len(started)}.log"
        started.append(OperatorProcess(kubeconfig, namespace, log, **settings))
        started[-1].start()
        if leading:
            started[-1].wait_until_leading()
        return started[-1]

    yield start
    for operator in started:
        operator.kill()


@pytest.fixture
def scripted_node(node: ProcessNode) -> ProcessNode:
    """The node, with an image whose stages play a script (see scripted_image)."""
    node.images["distillery-trainer:scripted"] = scripted_image()
    return node


@pytest.fixture
def teacher(tmp_path: Path) -> Iterator[str]:
    """The quickstart's stand-in teacher, for the real stages; yields its URL."""
    options = ("--calm", "--latency", "0", "--wrong", "0", "--key", TEACHER_KEY)
    with server_process("examples/quickstart/standin_teacher.py", tmp_path / "port", *options) as url:
        yield url


def _unavailable(problem: Exception) -> NoReturn:
    """Without what they need these tests are skipped on a person's machine, and fail in CI."""
    if CI:
        pytest.fail(str(problem), pytrace=False)
    pytest.skip(str(problem))
