"""Writes that the API server refuses: asked again ever more rarely, reported once, and nothing else waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from api_proxy import ApiProxy
from cluster import Cluster, CommandFailed
from control_plane import ControlPlane
from distillations import Distilled, small_spec
from operator_process import NAME, OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

StartOperator = Callable[..., OperatorProcess]

WINDOW_SECONDS = 8.0
CHANGED = {
    "storage": {"size": "1Gi", "retention": "Delete"},
    "training": {"learningRate": 1e-5},
    "serving": {"runtime": "Transformers", "resources": {"limits": {"memory": "1Gi"}}},
}


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


@contextmanager
def nothing_may_change(distilled: Distilled) -> Iterator[None]:
    """A policy that lets the operator change no Deployment and no claim, and delete no Job."""
    name, account = f"unchanged-{distilled.namespace}", f"system:serviceaccount:{distilled.namespace}:{NAME}"
    rules = [
        {"apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"], "operations": ["UPDATE"]},
        {"apiGroups": [""], "apiVersions": ["*"], "resources": ["persistentvolumeclaims"], "operations": ["UPDATE"]},
        {"apiGroups": ["batch"], "apiVersions": ["*"], "resources": ["jobs"], "operations": ["DELETE"]},
    ]
    selected = {"matchLabels": {"kubernetes.io/metadata.name": distilled.namespace}}
    validation = {"expression": f"request.userInfo.username != '{account}'", "message": "nothing may change"}
    specs = {
        "ValidatingAdmissionPolicy": {
            "matchConstraints": {"resourceRules": rules, "namespaceSelector": selected},
            "validations": [validation],
        },
        "ValidatingAdmissionPolicyBinding": {"policyName": name, "validationActions": ["Deny"]},
    }
    api = "admissionregistration.k8s.io/v1"
    distilled.cluster.apply(
        [{"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec} for kind, spec in specs.items()]
    )
    wait_until(lambda: is_denied(distilled, account), 30, "the policy to be enforced")
    try:
        yield
    finally:
        for kind in reversed(specs):
            distilled.cluster.kubectl("delete", kind, name)
        wait_until(lambda: not is_denied(distilled, account), 30, "the policy to be gone")


def is_denied(distilled: Distilled, account: str) -> bool:
    try:
        distilled.kubectl("label", "deployment/small", "x=y", "--dry-run=server", f"--as={account}")
    except CommandFailed as problem:
        return "nothing may change" in str(problem)
    return False


def is_lasting_write(request: str) -> bool:
    """Whether a request changes something: neither one about the Lease nor a dry run."""
    reads = request.startswith("GET ")
    return not reads and "/leases" not in request and "dryRun=" not in request


def reconciled_in_a_window(operator: OperatorProcess) -> float:
    def reconciliations() -> float:
        return operator.metric("distillery_reconcile_seconds_count", outcome="ok") or 0

    before = reconciliations()
    time.sleep(WINDOW_SECONDS)
    return reconciliations() - before


def test_refused_writes_are_reported_once_and_tried_again_ever_more_rarely(
    distilled: Distilled, start_operator: StartOperator, control_plane: ControlPlane
) -> None:
    with ApiProxy(control_plane.server, control_plane.certificates.authority) as proxy:
        kubeconfig = control_plane.kubeconfig_for(NAME, distilled.namespace, server=proxy.server)
        operator = start_operator(kubeconfig=kubeconfig)
        distilled.apply()
        distilled.wait_ready()
        with nothing_may_change(distilled):
            distilled.apply(small_spec(**CHANGED))
            # The new student is trained and evaluated all the same.
            distilled.wait("Stalled", reason="PodRefused")
            refused = {(each["verb"], each["kind"]) for each in distilled.status["refused"]}
            assert refused == {("delete", "Job"), ("patch", "PersistentVolumeClaim"), ("patch", "Deployment")}
            assert len(distilled.jobs("evaluate")) == 2

            wait_until(lambda: reconciled_in_a_window(operator) <= 10, 90, "an end of what follows the failed Pods")
            before, events = distilled.get(), len(distilled.events())
            sent = len(proxy.requests)
            assert reconciled_in_a_window(operator) <= 10
            writes = [each for each in proxy.requests[sent:] if is_lasting_write(each)]
            assert len(writes) <= 2 * len(distilled.status["refused"]), writes
            assert not [write for write in writes if "/status?" in write or "/events?" in write]
            assert (distilled.get(), len(distilled.events())) == (before, events)
            assert "denied request: nothing may change" in distilled.message()

        distilled.kubectl("annotate", "distillation/small", "distillery.dev/retry-at=now")
        distilled.wait_ready()
    claim = distilled.children("persistentvolumeclaims")[0]
    assert claim["metadata"]["ownerReferences"][0]["name"] == "small"
    assert distilled.status["refused"] == []
    assert operator.exit_status is None


def test_a_webhook_that_does_not_answer_is_waited_for(distilled: Distilled, start_operator: StartOperator) -> None:
    name = f"silent-{distilled.namespace}"
    webhook = {
        "name": "silent.example.com",
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": distilled.namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    distilled.cluster.apply({**kind, "metadata": {"name": name}, "webhooks": [webhook]})
    try:
        start_operator()
        distilled.apply()
        distilled.wait("Reconciling", reason="Queued")
        wait_until(lambda: 'failed calling webhook "silent.example.com"' in distilled.message(), 20, "its words")
        assert "Stalled" not in distilled.conditions
    finally:
        distilled.cluster.kubectl("delete", kind["kind"], name)
    distilled.wait_ready()
