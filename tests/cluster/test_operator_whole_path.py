"""The path of a resource through the operator, with scripted stages: every Kubernetes part of it is real."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess, conditions
from process_node.node import ProcessNode
from waiting import wait_until

EVALUATION = {"sampleSize": 40, "teacher": {"score": 0.9}, "student": {"score": 0.85}}
ROWS = {"read": 12, "kept": 10, "rejected": 2, "rejectedByReason": {"Unreadable": 2}}
DONE = {
    "generate": [{"rows": ROWS, "usage": {"requests": 14, "inputTokens": 900, "outputTokens": 80}}],
    "evaluate": [{"evaluation": EVALUATION}],
}
METRICS = """\
# TYPE distillery_stage_done gauge
distillery_stage_done{stage="train",unit="steps"} 30
# TYPE distillery_stage_total gauge
distillery_stage_total{stage="train",unit="steps"} 120
"""
SHARED = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}
StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def ask(url: str) -> str:
    """The student's answer."""
    reply = requests.post(f"{url}/v1/chat/completions", json={"model": "small", "messages": []}, timeout=10)
    answer: str = reply.json()["choices"][0]["message"]["content"]
    return answer


def test_one_manifest_becomes_a_served_and_measured_student(
    distilled: Distilled, start_operator: StartOperator, service_url: Callable[..., str]
) -> None:
    start_operator()
    distilled.apply(script=DONE)
    ready = distilled.wait_ready()

    status = ready["status"]
    assert status["observedGeneration"] == ready["metadata"]["generation"]
    assert [stage["attempts"] for stage in status["stages"]] == [1, 1, 1, 1]
    assert status["stages"][0]["rows"] == {**ROWS, "transientFailures": 0}
    assert status["evaluation"]["student"] == {"score": 0.85, "latencySeconds": 0.2}
    assert status["serving"]["verification"]["alike"] == 16
    assert status["usage"] == {
        "requests": 14,
        "inputTokens": 900,
        "outputTokens": 80,
        "cachedInputTokens": 0,
        "reasoningTokens": 0,
        "uncountedReplies": 0,
    }
    assert distilled.conditions == {
        "Ready": ("True", "Serving"),
        "DataGenerated": ("True", "Succeeded"),
        "Trained": ("True", "Succeeded"),
        "Evaluated": ("True", "Succeeded"),
        "Verified": ("True", "Succeeded"),
        "Available": ("True", "Serving"),
    }
    assert [len(distilled.jobs(stage)) for stage in ("generate", "train", "evaluate", "verify")] == [1, 1, 1, 1]
    assert ask(service_url(distilled.namespace, "small")) == "small says entailment"


def test_what_kubectl_get_shows_is_for_people(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.apply(script=DONE)
    distilled.wait_ready()

    header, row = distilled.kubectl("get", "distill").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "PROGRESS", "SCORE", "AGE"]
    assert row.split()[:5] == ["small", "True", "Serving", "done", "0.85"]


def test_the_progress_of_a_run_is_posted_as_events(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.apply(script=DONE)
    distilled.wait_ready()

    posted = wait_until(lambda: (found := distilled.events()) and found[-1]["reason"] == "Serving" and found)
    reasons = [each["reason"] for each in posted]
    assert reasons == ["GeneratingData", "Training", "Evaluating", "RollingOut", "Verifying", "Serving"]
    assert posted[1]["note"].endswith("is done; train: the student is being trained on the teacher's answers")
    assert {each["type"] for each in posted} == {"Normal"}
    assert posted[0]["regarding"]["uid"] == distilled.get()["metadata"]["uid"]
    assert "Serving" in distilled.kubectl("describe", "distillation", "small")


def test_a_new_learning_rate_keeps_the_rows_and_the_old_student_until_the_new_one_is_ready(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(script=DONE)
    first = distilled.wait_ready()["status"]

    distilled.patch({"training": {"learningRate": 0.001}})
    meanwhile = distilled.wait("Ready", "Unknown")
    assert conditions(meanwhile)["Available"] == ("True", "Serving")
    second = distilled.wait_ready()["status"]

    assert len(distilled.jobs("generate")) == 1
    assert second["stages"][0] == first["stages"][0]
    assert second["stages"][1]["inputHash"] != first["stages"][1]["inputHash"]
    assert second["serving"]["modelPath"] == f"train-{second['stages'][1]['inputHash']}/model"
    assert [run["modelPath"] for run in second["history"]] == [
        second["serving"]["modelPath"],
        first["serving"]["modelPath"],
    ]


def test_kubectl_scale_changes_the_deployment_and_runs_nothing_again(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(small_spec(storage=SHARED), DONE)
    distilled.wait_ready()
    jobs = distilled.jobs()

    distilled.kubectl("scale", "distillation/small", "--replicas=3")
    wait_until(lambda: distilled.status["serving"]["readyReplicas"] == 3, 40, "three ready replicas")

    assert distilled.wait_ready()["status"]["serving"]["replicas"] == 3
    assert distilled.jobs() == jobs


def test_deleting_it_takes_everything_along_but_the_workspace(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(script=DONE)
    claim = distilled.wait_ready()["status"]["workspaceClaim"]

    distilled.delete()
    kinds = ("jobs", "pods", "deployments", "services", "configmaps")
    wait_until(lambda: not any(distilled.children(kind) for kind in kinds), 40, "the children to go")

    kept = [each["metadata"]["name"] for each in distilled.children("persistentvolumeclaims")]
    assert kept == [claim]


def test_deletion_needs_no_operator(distilled: Distilled, start_operator: StartOperator) -> None:
    operator = start_operator()
    distilled.apply(script=DONE)
    distilled.wait_ready()
    operator.terminate()

    distilled.delete()
    wait_until(lambda: not distilled.children("deployments"), 40, "the Deployment to go")


def test_with_serving_off_the_run_ends_with_its_scores(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.apply(small_spec(serving={"mode": "None"}), DONE)
    distilled.wait_ready()

    assert distilled.conditions["Ready"] == ("True", "Succeeded")
    assert distilled.children("deployments") == []


def test_a_running_stages_progress_is_in_the_status(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.apply(script={"train": [{"waits": True, "metrics": METRICS}]})

    progress = wait_until(lambda: distilled.stage("train").get("progress"), 40, "progress")
    assert (progress["done"], progress["total"], progress["unit"]) == (30, 120, "steps")
    assert distilled.status["progress"].startswith("2/4 train 25%")


def test_suspending_stops_the_stage_and_resuming_goes_on_with_it(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(script={"train": [{"waits": True}, {}]})
    wait_until(lambda: distilled.children("pods", "train")[0]["status"]["phase"] == "Running", 40, "training")

    distilled.patch({"suspend": True})
    distilled.wait("Suspended")
    wait_until(lambda: not distilled.children("pods", "train"), 30, "the Pod to go")
    assert distilled.conditions["Ready"] == ("False", "Suspended")
    assert not {"Reconciling", "Stalled"} & set(distilled.conditions)

    distilled.patch({"suspend": False})
    distilled.wait_ready()
    assert len(distilled.jobs("train")) == 1
    assert distilled.stage("train")["attempts"] == 1


def test_a_spec_whose_pod_the_server_refuses_costs_nothing(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    spec = small_spec(training={"podTemplate": {"spec": {"nodeSelectr": {"gpu": "a100"}}}})
    distilled.apply(spec)
    distilled.wait("Stalled", reason="InvalidSpec")

    assert 'unknown field "spec.nodeSelectr"' in distilled.message("Stalled")
    assert (distilled.jobs(), distilled.children("persistentvolumeclaims")) == ([], [])

    distilled.patch({"training": {"podTemplate": {"spec": {"nodeSelectr": None}}}})
    distilled.wait_ready()


def test_several_distillations_do_not_disturb_each_other(
    distilled: Distilled, start_operator: StartOperator, control_plane: Cluster
) -> None:
    start_operator()
    others = [Distilled(control_plane, distilled.namespace, name) for name in ("first", "second", "third")]
    for each in others:
        each.apply(script=DONE)
    for each in others:
        each.wait_ready()

    assert [len(each.jobs()) for each in others] == [4, 4, 4]
    assert [len(each.events()) for each in others] == [6, 6, 6]


def test_a_student_that_answers_otherwise_is_not_available_until_a_retry_finds_it_right(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    words = "The served student answered 3 of 16 rows otherwise than in the evaluation."
    failed = {"exit": 2, "reason": "VerificationFailed", "message": words}
    distilled.apply(script={**DONE, "verify": [failed, {}]})
    distilled.wait("Stalled", reason="VerificationFailed")
    assert distilled.message() == f"verify: {words}"
    assert distilled.conditions["Available"] == ("False", "Verifying")

    distilled.kubectl("annotate", "distillation/small", "distillery.dev/retry-at=now")
    distilled.wait_ready()
    assert distilled.conditions["Available"] == ("True", "Serving")
    assert [stage["attempts"] for stage in distilled.status["stages"]] == [1, 1, 1, 2]
