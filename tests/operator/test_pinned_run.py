"""An earlier run that the spec pins is served at once, and no stage runs again for it."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Create
from simulated_cluster import VERIFIED, SimulatedCluster

READY, STALLED, AVAILABLE = ConditionType.READY, ConditionType.STALLED, ConditionType.AVAILABLE
FIRST = "nxevyml5"
TRANSFORMERS = {"runtime": "Transformers"}


def with_two_runs(**changes: Any) -> SimulatedCluster:
    """A cluster that serves its second run."""
    cluster = SimulatedCluster(**changes)
    cluster.run_stages(*Stage)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert cluster.truth(READY) == "True"
    return cluster


def deployed_run(cluster: SimulatedCluster) -> str:
    return str(cluster.objects["Deployment", "conjnli"]["metadata"]["labels"]["distillery.dev/hash"])


def test_a_pinned_run_is_served_at_once_without_a_job() -> None:
    cluster = with_two_runs()
    created = len(cluster.created)
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (deployed_run(cluster), cluster.created[created:]) == (FIRST, [])
    assert (cluster.truth(READY), cluster.truth(AVAILABLE), cluster.truth(ConditionType.VERIFIED)) == ("True",) * 3
    ready = cluster.condition(READY)
    assert ready is not None
    assert ready.message == f"the student of the pinned run {FIRST} is served at http://conjnli.team-a.svc:8000/v1"
    assert cluster.status.serving is not None
    assert (cluster.status.serving.train, cluster.status.serving.model_path) == (FIRST, f"train-{FIRST}/model")


def test_without_the_pin_the_newest_serves_again_without_a_job() -> None:
    cluster = with_two_runs()
    created = len(cluster.created)
    for serving in ({**TRANSFORMERS, "pinnedRun": FIRST}, TRANSFORMERS):
        cluster.change(serving=serving)
        cluster.settle()
        cluster.serve()
        cluster.settle()
    assert deployed_run(cluster) == cluster.plan.stage(Stage.TRAIN).input_hash != FIRST
    assert (cluster.truth(READY), cluster.created[created:]) == ("True", [])


def test_while_a_run_is_pinned_new_ones_are_made_and_evaluated_but_not_served() -> None:
    cluster = with_two_runs()
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    cluster.serve()
    cluster.change(training={"seed": 8})
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(AVAILABLE)) == ("Unknown", "True")
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert (deployed_run(cluster), cluster.truth(READY)) == (FIRST, "True")
    assert cluster.status.history[0].train == cluster.plan.stage(Stage.TRAIN).input_hash
    assert len(cluster.status.history) == 3


def test_a_run_can_be_pinned_while_another_one_is_made() -> None:
    cluster = with_two_runs()
    cluster.change(training={"seed": 8}, serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (deployed_run(cluster), cluster.truth(AVAILABLE), cluster.truth(READY)) == (FIRST, "True", "Unknown")


def test_a_pinned_run_with_another_server_is_verified_by_its_own_evaluation() -> None:
    cluster = with_two_runs()
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST, "image": "mine:2"})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    job = cluster.job()
    name = f"conjnli-verify-{cluster.record(Stage.VERIFY).input_hash}"
    assert job["metadata"]["name"] == f"{name}-1"
    config = cluster.objects["ConfigMap", name]["data"]["run.json"]
    assert f"train-{FIRST}" in config
    assert cluster.plan.stage(Stage.TRAIN).folder not in config
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(AVAILABLE)) == ("True", "True")


@pytest.mark.parametrize("pinned", ["aaaaaaaa", f"train-{FIRST}"])
def test_an_unknown_run_stalls_with_those_that_are_known_and_leaves_what_serves(pinned: str) -> None:
    cluster = with_two_runs()
    newest = cluster.plan.stage(Stage.TRAIN).input_hash
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": pinned})
    assert cluster.decisions() == ()
    cluster.settle()
    stalled = cluster.condition(STALLED)
    assert stalled is not None
    assert (stalled.reason, stalled.message) == (
        "InvalidSpec",
        f"serving.pinnedRun: there is no run {pinned} in status.history; known are {newest}, {FIRST}. Remove pinnedRun"
        " to serve the newest run",
    )
    assert (deployed_run(cluster), cluster.truth(AVAILABLE)) == (newest, "True")


def test_a_pin_before_the_first_run_says_so() -> None:
    cluster = SimulatedCluster(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    stalled = cluster.condition(STALLED)
    assert stalled is not None
    assert "no run has finished yet" in stalled.message


def test_a_pinned_run_that_cannot_be_served_goes_back() -> None:
    cluster = with_two_runs()
    newest = deployed_run(cluster)
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    cluster.roll_out({"reason": "ErrImagePull", "message": "gone"})
    cluster.settle()
    cluster.wait(600)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (deployed_run(cluster), cluster.truth(AVAILABLE), cluster.reason(STALLED)) == (
        newest,
        "True",
        "ImagePullError",
    )


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_an_operator_that_dies_while_it_pins_carries_on(writes: int) -> None:
    cluster = with_two_runs()
    created = [action for action in cluster.decisions() if isinstance(action, Create)]
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    for _ in range(3):
        cluster.reconcile(dies_after=writes)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (deployed_run(cluster), cluster.truth(READY), created) == (FIRST, "True", [])


def test_a_run_whose_model_was_deleted_cannot_be_pinned() -> None:
    cluster = with_two_runs()
    newest = deployed_run(cluster)
    cluster.status = cluster.status.model_copy(update={"prunable_folders": (f"train-{FIRST}",)})
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    stalled = cluster.condition(STALLED)
    assert stalled is not None
    assert stalled.message == (
        f"serving.pinnedRun: the model of the run {FIRST} has been deleted (storage.history), or is about to be; known"
        f" are {newest}. Remove pinnedRun to serve the newest run"
    )
    assert deployed_run(cluster) == newest


def test_a_run_of_an_earlier_release_cannot_be_pinned_and_says_why() -> None:
    cluster = with_two_runs()
    newest, first = cluster.status.history
    cluster.status = cluster.status.model_copy(
        update={"history": (newest, first.model_copy(update={"generate": None, "train": None, "evaluate": None}))}
    )
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    stalled = cluster.condition(STALLED)
    assert stalled is not None
    assert f"the run {FIRST} is of an earlier release, which did not write down what it was made of" in stalled.message


def test_the_model_that_a_failed_rollout_goes_back_to_is_never_deleted() -> None:
    cluster = SimulatedCluster(storage={"history": 1})
    cluster.run_stages(*Stage)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert deployed_run(cluster) != FIRST
    assert f"train-{FIRST}" not in cluster.status.prunable_folders


def test_a_pin_that_becomes_unknown_asks_the_earlier_student_nothing_of_the_newest() -> None:
    cluster = with_two_runs()
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    created = len(cluster.created)
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": "aaaaaaaa"})
    cluster.settle()
    assert (cluster.created[created:], deployed_run(cluster)) == ([], FIRST)
    assert (cluster.reason(STALLED), cluster.truth(AVAILABLE)) == ("InvalidSpec", "True")


def test_the_result_table_keeps_its_own_students_latency_while_another_run_is_pinned() -> None:
    cluster = with_two_runs()
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST, "image": "mine:2"})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.finish(verification=VERIFIED.model_copy(update={"latency_seconds": 77.0}))
    cluster.settle()
    assert cluster.status.evaluation is not None
    assert cluster.status.evaluation.student is not None
    assert cluster.status.evaluation.student.latency_seconds != 77.0
    assert cluster.status.serving is not None
    assert cluster.status.serving.verification is not None
    assert cluster.status.serving.verification.latency_seconds == 77.0


def test_until_a_pinned_run_serves_the_model_to_go_back_to_is_kept() -> None:
    cluster = with_two_runs(storage={"history": 2})
    cluster.change(training={"seed": 8}, evaluation={"gate": {"minScore": 0.99}})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    served = deployed_run(cluster)
    cluster.change(training={"seed": 9})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    # The run before the one that serves was verified long ago, and is not pruned yet.
    cluster.status = cluster.status.model_copy(update={"prunable_folders": ()})
    cluster.change(serving={**TRANSFORMERS, "pinnedRun": FIRST})
    cluster.settle()
    cluster.roll_out({"reason": "ErrImagePull", "message": "gone"})
    cluster.settle()
    assert deployed_run(cluster) == FIRST
    assert f"train-{served}" not in cluster.status.prunable_folders
