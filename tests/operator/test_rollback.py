"""A rollout that fails goes back by itself, and the status says what answers all the time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType, ServingStatus
from distillery_operator.core.history import runs_in_use
from simulated_cluster import VERIFIED, SimulatedCluster

READY, STALLED, AVAILABLE = ConditionType.READY, ConditionType.STALLED, ConditionType.AVAILABLE
SHARED = {"accessModes": ["ReadWriteMany"]}
OLD_MODEL = "train-nxevyml5/model"
NO_IMAGE = {"reason": "ErrImagePull", "message": "not found"}

Raw = dict[str, Any]


def served(**changes: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(**changes)
    cluster.run_stages(*Stage)
    return cluster


def with_new_student(**changes: Any) -> SimulatedCluster:
    """A served student, and a new one whose rollout has just begun."""
    cluster = served(**changes)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    return cluster


def deployed_model(cluster: SimulatedCluster) -> str:
    return str(cluster.objects["Deployment", "conjnli"]["metadata"]["annotations"]["distillery.dev/model-path"])


def serving(cluster: SimulatedCluster) -> ServingStatus:
    assert cluster.status.serving is not None
    return cluster.status.serving


def message(cluster: SimulatedCluster, kind: ConditionType = READY) -> str:
    found = cluster.condition(kind)
    assert found is not None
    return found.message


def fail_to_start(cluster: SimulatedCluster) -> None:
    cluster.roll_out(NO_IMAGE)
    cluster.settle()
    cluster.wait(600)


def fail_to_become_ready(cluster: SimulatedCluster) -> None:
    cluster.roll_out()
    conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    cluster.objects["Deployment", "conjnli"]["status"]["conditions"] = conditions


def answer_otherwise(cluster: SimulatedCluster) -> None:
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise.")


FAILURES = [
    (fail_to_start, "ImagePullError", "the image distillery-trainer:1 cannot be pulled: not found"),
    (fail_to_become_ready, "RolloutFailed", "the server did not become ready before the rollout deadline"),
    (answer_otherwise, "VerificationFailed", "3 of 16 rows were answered otherwise"),
]


@pytest.mark.parametrize("storage", [{}, SHARED], ids=["one node", "many nodes"])
@pytest.mark.parametrize(("fail", "reason", "why"), FAILURES, ids=[reason for _, reason, _ in FAILURES])
def test_a_failed_rollout_goes_back_and_says_why(storage: Raw, fail: Any, reason: str, why: str) -> None:
    cluster = with_new_student(storage=storage)
    assert deployed_model(cluster) != OLD_MODEL
    new = serving(cluster).candidate
    fail(cluster)
    cluster.settle()
    assert deployed_model(cluster) == OLD_MODEL
    # Where both cannot run beside each other, the old one has to start again.
    stays = storage == SHARED and fail is not answer_otherwise
    assert message(cluster).endswith("; " + (f"{OLD_MODEL} serves again" if stays else f"going back to {OLD_MODEL}"))
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(AVAILABLE), cluster.reason(STALLED)) == ("False", "True", reason)
    train = cluster.plan.stage(Stage.TRAIN).folder
    assert message(cluster) == f"serving {train}: {why}; {OLD_MODEL} serves again"
    assert (serving(cluster).model_path, serving(cluster).candidate) == (OLD_MODEL, None)
    assert new is None or new.train != serving(cluster).train


@pytest.mark.parametrize("fail", [fail for fail, _, _ in FAILURES], ids=[reason for _, reason, _ in FAILURES])
def test_what_failed_is_not_tried_again_by_itself(fail: Any) -> None:
    cluster = with_new_student()
    fail(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    for _ in range(3):
        cluster.wait(10_000)
        cluster.settle()
        assert deployed_model(cluster) == OLD_MODEL
    # Neither by a new release, nor by what has nothing to do with it.
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.change(generation={**cluster.spec["generation"], "concurrency": 7})
    cluster.settle()
    assert (deployed_model(cluster), cluster.truth(AVAILABLE)) == (OLD_MODEL, "True")


@pytest.mark.parametrize("fail", [fail for fail, _, _ in FAILURES], ids=[reason for _, reason, _ in FAILURES])
def test_a_retry_tries_it_again_and_may_succeed(fail: Any) -> None:
    cluster = with_new_student()
    fail(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    cluster.wait(1)
    cluster.request_retry()
    cluster.settle()
    assert (deployed_model(cluster), cluster.truth(STALLED)) == (cluster.plan.model_path, None)
    cluster.run_stages(Stage.VERIFY)
    assert (cluster.truth(READY), serving(cluster).failed_rollout) == ("True", None)


def test_a_changed_server_in_the_spec_is_tried() -> None:
    cluster = with_new_student()
    fail_to_start(cluster)
    cluster.settle()
    cluster.serve()
    cluster.change(serving={"runtime": "Transformers", "image": "mine:2"})
    cluster.run_stages(Stage.VERIFY)
    assert (deployed_model(cluster), cluster.truth(READY)) == (cluster.plan.model_path, "True")


def test_a_changed_server_of_the_same_student_goes_back_as_well() -> None:
    cluster = served()
    before = cluster.objects["Deployment", "conjnli"]["spec"]["template"]
    cluster.change(serving={"runtime": "Transformers", "image": "nowhere:1"})
    cluster.settle()
    fail_to_start(cluster)
    cluster.settle()
    cluster.serve()
    created = len(cluster.created)
    cluster.settle()
    assert cluster.objects["Deployment", "conjnli"]["spec"]["template"] == before
    assert (cluster.truth(AVAILABLE), cluster.reason(STALLED)) == ("True", "ImagePullError")
    assert cluster.created[created:] == []


def test_a_requested_restart_that_fails_goes_back() -> None:
    cluster = served()
    before = cluster.objects["Deployment", "conjnli"]["spec"]["template"]
    cluster.install(trainer_image="nowhere:1")
    cluster.annotations["distillery.dev/restart-at"] = "now"
    cluster.settle()
    fail_to_start(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert cluster.objects["Deployment", "conjnli"]["spec"]["template"] == before
    assert (cluster.truth(AVAILABLE), cluster.reason(STALLED)) == ("True", "ImagePullError")


def test_a_first_rollout_has_nothing_to_go_back_to() -> None:
    cluster = SimulatedCluster()
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE)
    fail_to_start(cluster)
    cluster.settle()
    assert (cluster.reason(STALLED), deployed_model(cluster)) == ("ImagePullError", OLD_MODEL)


def test_a_server_that_has_answered_well_is_not_rolled_back_when_it_fails_later() -> None:
    cluster = with_new_student()
    cluster.run_stages(Stage.VERIFY)
    new = deployed_model(cluster)
    fail_to_start(cluster)
    cluster.settle()
    assert (deployed_model(cluster), cluster.reason(STALLED)) == (new, "ImagePullError")


def test_that_nobody_can_ask_the_server_takes_nothing_back() -> None:
    cluster = with_new_student()
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.fail(2, Reason.INVALID_SPEC, "something else")
    cluster.settle()
    assert (cluster.reason(STALLED), deployed_model(cluster)) == ("InvalidSpec", cluster.plan.model_path)


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
@pytest.mark.parametrize("fail", [fail for fail, _, _ in FAILURES], ids=[reason for _, reason, _ in FAILURES])
def test_an_operator_that_dies_at_any_step_neither_flaps_nor_stops(fail: Any, writes: int) -> None:
    cluster = with_new_student()
    fail(cluster)
    for _ in range(4):
        cluster.reconcile(dies_after=writes)
        if deployed_model(cluster) == OLD_MODEL:
            cluster.serve()
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (deployed_model(cluster), cluster.truth(AVAILABLE)) == (OLD_MODEL, "True")


# --- what answers


def test_during_a_rollout_the_status_names_the_student_that_answers() -> None:
    cluster = with_new_student(storage=SHARED)
    new = cluster.plan.model_path
    for ready in (False, True):
        cluster.roll_out(ready=ready)
        cluster.settle()
        candidate = serving(cluster).candidate
        assert (serving(cluster).model_path, serving(cluster).train) == (OLD_MODEL, "nxevyml5")
        assert candidate is not None
        assert (candidate.model_path, candidate.ready_replicas) == (new, int(ready))
        assert (cluster.truth(READY), cluster.truth(AVAILABLE)) == ("Unknown", "True")
    assert message(cluster, AVAILABLE) == f"servers of {OLD_MODEL} and {new} answer; that of {new} is not verified yet"
    cluster.serve()
    cluster.settle()
    assert (serving(cluster).model_path, serving(cluster).candidate) == (new, None)
    assert (cluster.truth(AVAILABLE), cluster.reason(AVAILABLE)) == ("False", "Verifying")


def test_before_the_first_pod_answers_nobody_is_available() -> None:
    cluster = with_new_student()
    cluster.roll_out()
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.reason(AVAILABLE)) == ("False", "RollingOut")


# --- history


def test_history_says_what_a_run_was_made_of_and_how_it_served() -> None:
    cluster = served()
    plan = cluster.plan
    (run,) = cluster.status.history
    assert (run.generate, run.train, run.evaluate) == tuple(each.input_hash for each in plan.stages[:3])
    assert (run.model_path, run.student_prompt) == (OLD_MODEL, "generate-khmqypiu/student-prompt.txt")
    assert run.data_card == "generate-khmqypiu/README.md"
    assert (run.student, run.teacher, run.base) == (0.9, 0.95, None)
    assert run.verification is not None
    assert (run.verification.alike, run.served_time) == (VERIFIED.alike, cluster.now)


def test_a_run_that_was_never_served_says_so() -> None:
    cluster = with_new_student()
    newest, before = cluster.status.history
    assert (newest.model_path, newest.served_time, newest.verification) == (cluster.plan.model_path, None, None)
    assert before.served_time is not None


def test_the_run_that_serves_is_never_forgotten() -> None:
    cluster = served()
    for seed in range(1, 8):
        cluster.change(training={"seed": seed}, serving={"runtime": "Transformers", "image": f"nowhere:{seed}"})
        cluster.settle()
        cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert [run.model_path for run in cluster.status.history].count(OLD_MODEL) == 1
    assert len(cluster.status.history) == 6
    assert "nxevyml5" in runs_in_use(cluster.assessment().situation)


def test_a_run_of_an_earlier_release_gets_its_hashes() -> None:
    cluster = served()
    (run,) = cluster.status.history
    bare = type(run)(completion_time=run.completion_time, model_path=run.model_path, student=run.student)
    cluster.status = cluster.status.model_copy(update={"history": (bare,)})
    cluster.settle()
    assert [each.train for each in cluster.status.history] == ["nxevyml5"]


@pytest.mark.parametrize("settings", [{}, {"trainer_image": "distillery-trainer:2"}], ids=["same release", "upgraded"])
def test_what_failed_is_not_tried_again_where_the_deployment_is_deleted(settings: Raw) -> None:
    cluster = with_new_student()
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "other answers")
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert deployed_model(cluster) == OLD_MODEL
    del cluster.objects["Deployment", "conjnli"]
    cluster.install(**settings)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (deployed_model(cluster), cluster.truth(AVAILABLE)) == (OLD_MODEL, "True")
    assert (cluster.reason(STALLED), cluster.decisions()) == ("VerificationFailed", ())


# --- a restart after a roll-back is one of what serves


def gone_back(fail: Any, **changes: Any) -> SimulatedCluster:
    """A new student has failed, and the one before serves again."""
    cluster = with_new_student(**changes)
    fail(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    return cluster


def template(cluster: SimulatedCluster) -> Raw:
    return dict(cluster.objects["Deployment", "conjnli"]["spec"]["template"])


@pytest.mark.parametrize("fail", [fail for fail, _, _ in FAILURES], ids=[reason for _, reason, _ in FAILURES])
def test_a_restart_after_a_roll_back_restarts_the_student_that_serves(fail: Any) -> None:
    cluster = gone_back(fail)
    before, image = template(cluster), template(cluster)["spec"]["containers"][0]["image"]
    cluster.install(trainer_image="distillery-trainer:2")
    for requested in ("now", "later"):
        cluster.annotations["distillery.dev/restart-at"] = requested
        cluster.settle()
        assert deployed_model(cluster) == OLD_MODEL
        assert template(cluster)["metadata"]["annotations"]["distillery.dev/restarted-at"] == requested
        assert template(cluster)["metadata"]["labels"] != before["metadata"]["labels"]
        assert template(cluster)["spec"]["containers"][0]["image"] == image
        cluster.serve()
        cluster.settle()
        assert (cluster.truth(AVAILABLE), cluster.truth(STALLED), cluster.decisions()) == ("True", "True", ())
    cluster.wait(1)
    cluster.request_retry()
    cluster.settle()
    assert deployed_model(cluster) == cluster.plan.model_path
    fail(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (template(cluster)["spec"], deployed_model(cluster)) == (before["spec"], OLD_MODEL)


def test_a_restart_that_was_requested_before_the_failure_restarts_nothing_after_it() -> None:
    cluster = with_new_student(storage=SHARED)
    cluster.annotations["distillery.dev/restart-at"] = "early"
    cluster.settle()
    fail_to_start(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert deployed_model(cluster) == OLD_MODEL
    assert "annotations" not in template(cluster)["metadata"]
    assert cluster.decisions() == ()


def test_a_rollout_of_the_fleet_tries_no_student_again_that_failed() -> None:
    cluster = gone_back(answer_otherwise)
    before = template(cluster)
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.settings = replace(cluster.settings, fleet_rollout="december")
    for turn in (False, True):
        cluster.fleet_turn = lambda state, turn=turn: turn  # type: ignore[misc]
        cluster.settle()
        assert (template(cluster), cluster.reason(STALLED)) == (before, "VerificationFailed")


def test_a_changed_server_that_failed_is_not_tried_again_by_a_restart() -> None:
    cluster = served()
    before = template(cluster)
    cluster.change(serving={"runtime": "Transformers", "image": "nowhere:1"})
    cluster.settle()
    fail_to_start(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    cluster.annotations["distillery.dev/restart-at"] = "now"
    cluster.settle()
    assert template(cluster)["spec"] == before["spec"]
    assert template(cluster)["metadata"] != before["metadata"]


def test_a_restart_that_failed_is_tried_again_by_the_next_one() -> None:
    cluster = served()
    cluster.install(trainer_image="nowhere:1")
    cluster.annotations["distillery.dev/restart-at"] = "now"
    cluster.settle()
    fail_to_start(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert cluster.truth(STALLED) == "True"
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.annotations["distillery.dev/restart-at"] = "later"
    cluster.run_stages(Stage.VERIFY)
    assert template(cluster)["spec"]["containers"][0]["image"] == "distillery-trainer:2"
    assert cluster.truth(READY) == "True"


def test_a_way_back_that_does_not_get_there_says_why() -> None:
    cluster = with_new_student()
    answer_otherwise(cluster)
    cluster.settle()
    cluster.roll_out(NO_IMAGE)
    cluster.settle()
    assert message(cluster).endswith(
        f"; going back to {OLD_MODEL}: the image distillery-trainer:1 cannot be pulled: not found"
    )


# --- a server that is changed while the next student is made


def changed_meanwhile(fail: Any) -> SimulatedCluster:
    """The next student is being trained, and the server of the one that serves is changed."""
    cluster = served(storage=SHARED)
    cluster.change(training={"seed": 7})
    cluster.settle()
    cluster.start()
    cluster.change(serving={"runtime": "Transformers", "image": "mine:2"})
    cluster.settle()
    fail(cluster)
    cluster.settle()
    return cluster


def test_a_changed_server_is_verified_between_two_stages_of_the_next_student() -> None:
    cluster = changed_meanwhile(lambda cluster: cluster.serve())
    assert (cluster.live_jobs(), cluster.reason(), cluster.truth(AVAILABLE)) == ([cluster.job()], "Training", "True")
    assert "was changed since it was verified" in message(cluster, AVAILABLE)
    cluster.finish()
    cluster.settle()
    assert (cluster.reason(), cluster.created[-1].partition("-")[2][:6]) == ("Verifying", "verify")
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert (cluster.reason(), cluster.truth(AVAILABLE)) == ("Evaluating", "True")
    verified = {run.train: run.verification and run.verification.server for run in cluster.status.history}
    assert verified["nxevyml5"] == serving(cluster).server
    created = len(cluster.created)
    cluster.run_stages(Stage.EVALUATE)
    assert [name for name in cluster.created[created:] if "verify" in name] == []


def test_a_changed_server_that_answers_otherwise_goes_back_and_the_run_goes_on() -> None:
    cluster = changed_meanwhile(lambda cluster: cluster.serve())
    cluster.finish()
    cluster.settle()
    cluster.start()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    cluster.settle()
    assert template(cluster)["spec"]["containers"][0]["image"] != "mine:2"
    assert (cluster.truth(STALLED), cluster.reason()) == (None, "Evaluating")
    assert "3 of 16 rows were answered otherwise" in message(cluster)
    cluster.serve()
    cluster.run_stages(Stage.EVALUATE, Stage.VERIFY)
    assert (cluster.truth(READY), template(cluster)["spec"]["containers"][0]["image"]) == ("True", "mine:2")


def test_a_changed_server_that_cannot_start_does_not_stall_the_run() -> None:
    cluster = changed_meanwhile(fail_to_start)
    cluster.settle()
    assert (cluster.truth(STALLED), cluster.reason(), cluster.truth(READY)) == (None, "Training", "Unknown")
    assert "cannot be pulled" in message(cluster)
    assert template(cluster)["spec"]["containers"][0]["image"] != "mine:2"


@pytest.mark.parametrize("problem", ["pending", "crash", "unreachable"])
def test_a_verification_that_does_not_go_on_makes_room_for_the_next_stage(problem: str) -> None:
    cluster = changed_meanwhile(lambda cluster: cluster.serve())
    cluster.finish()
    cluster.settle()
    assert cluster.reason() == "Verifying"
    if problem == "pending":
        cluster.wait_for("ErrImagePull", "not found")
    else:
        cluster.start()
        cluster.fail(*((1,) if problem == "crash" else (3, Reason.VERIFICATION_FAILED, "no answer")))
    cluster.settle()
    assert (cluster.reason(), cluster.truth(AVAILABLE)) == ("Evaluating", "True")
    cluster.run_stages(Stage.EVALUATE, Stage.VERIFY)
    assert cluster.truth(READY) == "True"


def test_a_student_whose_verification_runs_when_the_spec_is_edited_is_verified() -> None:
    cluster = with_new_student()
    cluster.serve()
    cluster.settle()
    cluster.start()
    second = cluster.plan.stage(Stage.TRAIN).input_hash
    assert cluster.reason() == "Verifying"
    cluster.change(training={"seed": 8})
    cluster.settle()
    assert (cluster.reason(), cluster.truth(AVAILABLE), len(cluster.live_jobs())) == ("Verifying", "False", 1)
    cluster.finish()
    cluster.settle()
    assert (cluster.reason(), cluster.truth(AVAILABLE), serving(cluster).train) == ("Training", "True", second)
    assert cluster.status.history[0].verification is not None


def test_a_student_that_answers_otherwise_goes_back_also_after_the_spec_is_edited() -> None:
    cluster = with_new_student()
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.change(training={"seed": 8})
    cluster.settle()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    cluster.settle()
    assert (deployed_model(cluster), cluster.reason()) == (OLD_MODEL, "Training")
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.decisions()) == ("True", ())


@pytest.mark.parametrize("exit_code", [2, 3], ids=["failed", "waiting"])
def test_a_changed_server_is_verified_while_the_next_student_cannot_be_pushed(exit_code: int) -> None:
    image = {"runtime": "Transformers", "modelImage": {"repository": "registry.example/student"}}
    cluster = served(serving=image)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    cluster.start()
    cluster.fail(exit_code, Reason.PUBLISH_FAILED, "the registry does not answer")
    cluster.settle()
    record = cluster.record(Stage.PUBLISH)
    cluster.change(serving={**image, "resources": {"requests": {"memory": "4Gi"}}})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (cluster.reason(), cluster.record(Stage.PUBLISH).attempts) == ("Verifying", record.attempts)
    cluster.start()
    cluster.finish()
    cluster.settle()
    first = next(run for run in cluster.status.history if run.train == "nxevyml5")
    assert first.verification is not None
    assert (first.verification.server, cluster.truth(AVAILABLE)) == (serving(cluster).server, "True")
    assert cluster.record(Stage.PUBLISH).message == "the registry does not answer"
    assert cluster.truth(STALLED) == ("True" if exit_code == 2 else None)
    cluster.wait(1)
    cluster.request_retry()
    cluster.run_stages(Stage.PUBLISH, Stage.VERIFY)
    assert cluster.truth(READY) == "True"


@pytest.mark.parametrize("ask", ["retry", "spec"])
def test_a_retry_of_a_stage_while_a_server_is_verified_is_done_afterwards(ask: str) -> None:
    cluster = changed_meanwhile(lambda cluster: cluster.serve())
    cluster.fail(2, Reason.TRAINING_FAILED, "the loss is not a number")
    cluster.settle()
    assert cluster.reason() == "Verifying"
    cluster.start()
    if ask == "retry":
        cluster.wait(1)
        cluster.request_retry()
    else:
        cluster.change(training={"seed": 7, "resources": {"limits": {"memory": "8Gi"}}})
    cluster.settle()
    assert (cluster.reason(), cluster.record(Stage.TRAIN).retry_time) == ("Verifying", cluster.now)
    cluster.finish()
    cluster.settle()
    assert (cluster.reason(), cluster.record(Stage.TRAIN).attempts) == ("Training", 2)
    assert (len(cluster.live_jobs()), cluster.jobs()[-1][-2:]) == (1, "-2")
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert cluster.truth(READY) == "True"
