"""What people do to children by hand is repaired, and no finished work is done again for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from waiting import wait_until

from .conftest import WHOLE, Life

Deed = Callable[[Life], object]


def deleted(kind: str) -> Deed:
    def deed(life: Life) -> None:
        for child in life.distilled.children(kind):
            life.distilled.kubectl("delete", kind, child["metadata"]["name"], "--wait=false", "--ignore-not-found")

    deed.__name__ = f"{kind} deleted"
    return deed


def edited(kind: str, patch: dict[str, object]) -> Deed:
    def deed(life: Life) -> None:
        life.distilled.kubectl("patch", kind, "small", "--type=merge", "-p", json.dumps(patch))

    deed.__name__ = f"{kind} edited: {next(iter(patch['spec']))}"  # type: ignore[call-overload]
    return deed


SERVING: list[Deed] = [
    deleted("services"),
    deleted("deployments"),
    deleted("pods"),
    deleted("configmaps"),
    deleted("jobs"),
    edited("service", {"spec": {"selector": {"somebody": "else"}}}),
    edited("deployment", {"spec": {"paused": True}}),
    edited("deployment", {"spec": {"template": {"metadata": {"labels": {"distillery.dev/hash": "other"}}}}}),
]
RUNNING: list[Deed] = [deleted("jobs"), deleted("pods"), deleted("configmaps")]


def name_of(deed: Deed) -> str:
    return deed.__name__


def test_whatever_is_done_to_the_children_of_a_served_student_is_repaired(
    life: Life, service_url: Callable[..., str]
) -> None:
    life.until_served()
    for deed in SERVING:
        deed(life)
        wait_until(lambda: repaired(life), 60, name_of(deed))
        life.distilled.wait_ready(60)
    assert service_url(life.distilled.namespace, "small")
    assert [each["attempts"] for each in life.distilled.status["stages"]] == [1, 1, 1, 1]
    life.end()


def repaired(life: Life) -> bool:
    (service,) = life.distilled.children("services")
    (deployment,) = life.distilled.children("deployments")
    whole = deployment["status"].get("availableReplicas") == deployment["spec"]["replicas"] == 1
    kept = (
        service["spec"]["selector"].get("distillery.dev/name") == "small"
        and "somebody" not in service["spec"]["selector"]
    )
    return bool(
        whole and kept and not deployment["spec"].get("paused") and not deployment["metadata"].get("deletionTimestamp")
    )


@pytest.mark.parametrize("deed", RUNNING if WHOLE else RUNNING[:1], ids=name_of)
def test_whatever_is_deleted_while_a_stage_runs_the_life_goes_on(life: Life, deed: Deed) -> None:
    life.distilled.apply(script={"generate": [{"waits": True}, {"waits": True}]})
    running = wait_until(lambda: [pod for pod in life.distilled.children("pods", "generate") if is_running(pod)], 60)
    deed(life)
    wait_until(lambda: another_runs(life, running[0]["metadata"]["uid"]) or name_of(deed) == "configmaps deleted", 90)
    life.distilled.patch({"generation": {"podTemplate": None, "concurrency": 5}})
    (life.workspace() / "go on").touch()
    life.distilled.wait_ready(120)
    life.end()


def is_running(pod: dict[str, object]) -> bool:
    status = pod["status"]
    return isinstance(status, dict) and status.get("phase") == "Running"


def another_runs(life: Life, uid: str) -> bool:
    pods = life.distilled.children("pods", "generate")
    return any(is_running(pod) and pod["metadata"]["uid"] != uid for pod in pods)
