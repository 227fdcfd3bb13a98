"""What happens around a Distillation: a quota, lost rights, the end of its namespace, a neighbour in its workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from cluster import Cluster
from distillations import Distilled
from operator_process import NAME, OperatorProcess, grant_rights
from process_node.node import ProcessNode
from waiting import wait_until

from .conftest import Life

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "none"},
    "spec": {"hard": {"count/jobs.batch": "0"}},
}


def test_filled_quota_is_waited_for(life: Life, cluster: Cluster) -> None:
    cluster.apply({**QUOTA, "metadata": {"name": "none", "namespace": life.distilled.namespace}})
    wait_until(lambda: life.distilled.kubectl("get", "quota", "none", "-o", "jsonpath={.status.hard}"), 30)
    life.distilled.apply()
    wait_until(lambda: "exceeded quota" in life.distilled.message(), 60, "the quota in the status")
    assert life.distilled.conditions["Ready"][0] == "False"
    before = sum(life.witness.requests.values())
    time.sleep(10)
    assert sum(life.witness.requests.values()) - before < 60
    life.distilled.kubectl("delete", "quota", "none")
    life.distilled.wait_ready(150)
    life.witness.assert_no_job_twice()


def test_lost_rights_are_survived(life: Life, cluster: Cluster) -> None:
    life.distilled.apply(script={"generate": [{"waits": True}]})
    wait_until(lambda: life.distilled.children("pods", "generate"), 60, "the stage")
    binding = cluster.get("rolebinding", NAME, life.distilled.namespace)
    life.distilled.kubectl("delete", "rolebinding", NAME)
    (life.workspace() / "go on").touch()
    time.sleep(12)
    kept = {key: binding["metadata"][key] for key in ("name", "namespace", "labels")}
    cluster.apply({**binding, "metadata": kept})
    life.distilled.wait_ready(180)
    assert life.operator.exit_status is None
    assert [each["attempts"] for each in life.distilled.status["stages"]] == [1, 1, 1, 1]


@pytest.fixture
def doomed(control_plane: Cluster) -> Iterator[str]:
    """A namespace that the test deletes."""
    name = f"doomed-{time.time_ns()}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def test_namespace_is_deleted_in_mid_run(
    control_plane: Cluster,
    namespace: str,
    doomed: str,
    scripted_node: ProcessNode,
    start_operator: Callable[..., OperatorProcess],
) -> None:
    kubeconfig = grant_rights(control_plane, namespace, [namespace, doomed])
    operator = start_operator(kubeconfig=kubeconfig, DISTILLERY_NAMESPACES=f"{namespace},{doomed}")
    distilled, neighbour = Distilled(control_plane, doomed), Distilled(control_plane, namespace, "neighbour")
    distilled.apply(script={"train": [{"waits": True}]})
    wait_until(lambda: distilled.children("pods", "train"), 60, "the training")
    control_plane.kubectl("delete", "namespace", doomed, "--timeout=90s")
    neighbour.apply()
    neighbour.wait_ready(120)
    assert operator.exit_status is None
