"""Roll-back, a pinned run, a promotion and canaries on the real control plane, in the life of one Distillation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

pytestmark = pytest.mark.cluster

StartOperator = Callable[..., OperatorProcess]
OTHERWISE = {"exit": 2, "reason": "VerificationFailed", "message": "3 of 16 rows were answered otherwise."}


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def deployment(distilled: Distilled) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(distilled.kubectl("get", "deployment", "small", "-o", "json"))
    return found


def served_run(distilled: Distilled) -> str:
    return str(distilled.status["serving"]["train"])


def test_a_failed_rollout_goes_back_and_an_earlier_run_is_served_when_it_is_pinned(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply()
    distilled.wait_ready()
    first, template = served_run(distilled), deployment(distilled)["spec"]["template"]

    distilled.apply(small_spec(training={"learningRate": 0.001}), {"verify": [OTHERWISE, {}]})
    distilled.wait("Stalled", reason="VerificationFailed")
    distilled.wait("Available")
    wait_until(lambda: distilled.message().endswith(f"train-{first}/model serves again"), 40, "the first student")
    assert (served_run(distilled), deployment(distilled)["spec"]["template"]) == (first, template)
    assert "3 of 16 rows were answered otherwise; " in distilled.message()

    distilled.kubectl("annotate", "distillation/small", "distillery.dev/retry-at=now")
    distilled.wait_ready()
    second, jobs = served_run(distilled), distilled.jobs()
    assert [run["train"] for run in distilled.status["history"]] == [second, first]

    distilled.patch({"serving": {"pinnedRun": first}})
    distilled.wait_ready()
    assert (served_run(distilled), deployment(distilled)["spec"]["template"]) == (first, template)
    assert set(distilled.jobs()) <= set(jobs)  # no stage ran again

    distilled.patch({"serving": {"pinnedRun": "unknown"}})
    distilled.wait("Stalled", reason="InvalidSpec")
    assert f"known are {second}, {first}" in distilled.message()
    assert distilled.conditions["Available"] == ("True", "Serving")


def test_a_student_waits_for_its_promotion(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.apply(small_spec(serving={"runtime": "Transformers", "rollout": {"strategy": "Manual"}}))
    distilled.wait("Suspended", reason="AwaitingPromotion")
    assert distilled.children("deployments") == []

    [run] = distilled.status["history"]
    distilled.kubectl("annotate", "distillation/small", f"distillery.dev/promote={run['train']}")
    distilled.wait_ready()
    assert (served_run(distilled), "Suspended" in distilled.conditions) == (run["train"], False)


CANARY = {"strategy": "Canary", "steps": [{"percent": 10, "duration": "2s"}, {"percent": 50}]}


def canary_spec(**changes: Any) -> dict[str, Any]:
    storage = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}
    return small_spec(serving={"runtime": "Transformers", "rollout": CANARY}, storage=storage, **changes)


def server_objects(distilled: Distilled) -> list[str]:
    kinds = distilled.kubectl("get", "deployments,services,poddisruptionbudgets", "-o", "name").split()
    return sorted(kinds)


def test_a_candidate_takes_over_step_by_step_and_one_that_fails_leaves_nothing(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(canary_spec())
    distilled.wait_ready()
    first, alone = served_run(distilled), server_objects(distilled)
    assert len(alone) == 2

    distilled.apply(canary_spec(training={"learningRate": 0.001}))
    distilled.wait("Suspended", reason="AwaitingPromotion")
    canary, train = distilled.status["serving"]["canary"], distilled.status["history"][0]["train"]
    assert (canary["train"], canary["step"], canary["share"]) == (train, 2, 50)
    assert (served_run(distilled), distilled.conditions["Available"]) == (first, ("True", "Serving"))
    slices = json.loads(
        distilled.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=small", "-o", "json")
    )
    assert sum(len(each["endpoints"]) for each in slices["items"]) == 2
    distilled.kubectl("annotate", "distillation/small", f"distillery.dev/promote={train}")
    distilled.wait_ready()
    assert served_run(distilled) == train
    assert distilled.stage("verify")["attempts"] == 1  # before it took over
    wait_until(lambda: server_objects(distilled) == alone, 30, "the end of the candidate")

    served = deployment(distilled)["spec"]
    distilled.apply(canary_spec(training={"learningRate": 0.002}), {"verify": [OTHERWISE]})
    distilled.wait("Stalled", reason="VerificationFailed")
    assert distilled.message().endswith(f"train-{train}/model serves on")
    assert distilled.conditions["Available"] == ("True", "Serving")
    wait_until(lambda: server_objects(distilled) == alone, 30, "the end of the candidate")
    assert deployment(distilled)["spec"] == served
