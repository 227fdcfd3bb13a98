"""A new release of the operator takes over what an earlier one left: nothing runs again, and nothing is restarted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from release_record import restored
from waiting import wait_until

RELEASES = sorted(path for path in (Path(__file__).parents[1] / "data/input/releases").iterdir())
Manifest = dict[str, Any]
StartOperator = Callable[..., OperatorProcess]


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    """The folder of an earlier release."""
    folder: Path = request.param
    return folder


@pytest.fixture
def restore(
    control_plane: Cluster, crd: None, namespace: str, scripted_node: ProcessNode, release: Path
) -> Callable[[str], Distilled]:
    """Restore one of the recorded states."""

    def to(state: str) -> Distilled:
        restored(control_plane, namespace, release / f"{state}.yaml")
        return Distilled(control_plane, namespace)

    return to


def is_running(distilled: Distilled, component: str) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in distilled.children("pods", component))


def answers(distilled: Distilled) -> bool:
    return any(each["status"].get("availableReplicas") for each in distilled.children("deployments"))


def uids(objects: list[Manifest]) -> set[str]:
    return {each["metadata"]["uid"] for each in objects}


def test_running_job_goes_on_and_the_server_is_not_restarted(
    restore: Callable[[str], Distilled], start_operator: StartOperator
) -> None:
    distilled = restore("training")
    wait_until(lambda: is_running(distilled, "train") and answers(distilled), 60, "its Pods")
    before = {kind: uids(distilled.children(kind)) for kind in ("jobs", "pods", "deployments", "services")}
    stages = [(each["name"], each["inputHash"], each["attempts"]) for each in distilled.status["stages"]]
    operator = start_operator(DISTILLERY_TRAINER_IMAGE="distillery-trainer:does-not-exist")
    wait_until(lambda: (operator.metric("distillery_reconcile_seconds_count", outcome="ok") or 0) >= 2, 30)

    assert {kind: uids(distilled.children(kind)) for kind in before} == before
    assert distilled.conditions["Available"] == ("True", "Serving")
    assert [(each["name"], each["inputHash"], each["attempts"]) for each in distilled.status["stages"]] == stages


def test_served_student_stays_served_by_the_same_pod_and_no_stage_runs(
    restore: Callable[[str], Distilled], start_operator: StartOperator
) -> None:
    distilled = restore("served")
    wait_until(lambda: answers(distilled), 60, "the server")
    server = uids(distilled.children("pods", "serving"))
    operator = start_operator(DISTILLERY_TRAINER_IMAGE="distillery-trainer:does-not-exist")
    wait_until(lambda: (operator.metric("distillery_reconcile_seconds_count", outcome="ok") or 0) >= 2, 30)
    distilled.wait_ready()

    assert uids(distilled.children("pods", "serving")) == server
    assert distilled.jobs() == []
