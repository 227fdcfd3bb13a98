"""How attempts end that do not end by themselves, on a real control plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

StartOperator = Callable[..., OperatorProcess]

SIDECAR = {
    "name": "mesh",
    "image": "busybox:test",
    "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def beside_a_sidecar(*attempts: dict[str, Any]) -> dict[str, Any]:
    """A spec whose training plays these attempts beside a sidecar that never ends."""
    script = {"name": "SCRIPT", "value": str({"train": list(attempts)}).replace("'", '"')}
    containers = [{"name": "stage", "env": [script]}, SIDECAR]
    return small_spec(training={"podTemplate": {"spec": {"containers": containers}}}, serving={"mode": "None"})


def test_a_sidecar_holds_up_neither_a_failed_stage_nor_a_done_one_and_then_goes(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator(DISTILLERY_SIDECAR_GRACE_PERIOD="2s", DISTILLERY_JOB_TTL="1h")
    distilled.apply(beside_a_sidecar({"exit": 3, "reason": "TrainingFailed", "message": "try later"}))
    distilled.wait_ready()

    assert distilled.stage("train")["attempts"] == 2
    # Deleted, since a time to live does not begin while a sidecar runs.
    wait_until(lambda: not distilled.jobs("train"), 20, "the training's Jobs to go")
    wait_until(lambda: not distilled.children("pods", "train"), 20, "their sidecars to go")
    kept = distilled.children("jobs")
    assert {job["spec"]["ttlSecondsAfterFinished"] for job in kept} == {3600}
    assert len(kept) == 2


def test_a_lost_node_is_named_and_costs_no_attempt_when_it_comes_back(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator()
    limits = {"maxAttempts": 1}
    spec = small_spec(training=limits, serving={"mode": "None"})
    distilled.apply(spec, script={"train": [{"waits": True}, {}]})
    distilled.wait("DataGenerated")
    wait_until(lambda: distilled.children("pods", "train"), 40, "the training's Pod")
    distilled.kubectl("wait", "--for=condition=Ready", "pod", "-l=app.kubernetes.io/component=train", "--timeout=40s")

    scripted_node.lose()
    distilled.wait("Reconciling", reason="NodeLost", seconds=90)
    assert "the node process-node does not answer" in distilled.message()
    assert len(distilled.jobs("train")) == 1

    scripted_node.recover()
    distilled.wait_ready(90)
    assert "failures" not in distilled.stage("train")


def test_a_stage_that_runs_for_longer_than_its_timeout_is_stopped_by_its_jobs_deadline(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    spec = small_spec(training={"timeout": "2s"}, serving={"mode": "None"})
    distilled.apply(spec, script={"train": [{"waits": True}, {}]})
    distilled.wait("Stalled", reason="DeadlineExceeded")
    assert distilled.stage("train")["attempts"] == 1

    distilled.patch({"training": {"timeout": "1h"}})
    distilled.wait_ready()
    assert distilled.stage("train")["attempts"] == 2


def test_an_unknown_storage_class_is_named_and_waited_for(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator(DISTILLERY_BLOCKED_DEADLINE="2s")
    distilled.apply(small_spec(storage={"size": "1Gi", "storageClassName": "nowhere"}))
    distilled.wait("Stalled", reason="ConfigurationMissing", seconds=60)
    assert 'storageclass.storage.k8s.io "nowhere" not found' in distilled.message()
