from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distillery_api.evaluation import CallCosts, Score
from distillery_api.evaluation import Evaluation as Table
from distillery_api.reasons import Reason
from distillery_api.resource import Metadata
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress, RowCounts, TrainingFigures
from distillery_api.status import ConditionType, DistillationStatus, Run
from distillery_api.usage import Estimate, Usage
from distillery_api.verdict import Verdict
from distillery_api.verification import Measurement
from distillery_operator.core.status import invalid_status
from simulated_cluster import RUN_STAGES, START, VERIFIED, SimulatedCluster

READY, RECONCILING, STALLED = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED
AVAILABLE = ConditionType.AVAILABLE


def begun(**changes: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(**changes)
    cluster.settle()
    cluster.start()
    return cluster


def served(**changes: Any) -> SimulatedCluster:
    cluster = begun(**changes)
    cluster.run_stages(*Stage)
    return cluster


def truths(cluster: SimulatedCluster) -> dict[str, str]:
    """Status by type of all conditions."""
    return {each.type: each.status for each in cluster.status.conditions}


def message(cluster: SimulatedCluster, kind: ConditionType = READY) -> str:
    found = cluster.condition(kind)
    assert found is not None
    return found.message


def test_a_first_stage_under_way_is_reconciling_and_not_ready() -> None:
    assert truths(begun()) == {
        "Ready": "False",
        "Reconciling": "True",
        "DataGenerated": "False",
        "Trained": "False",
        "Evaluated": "False",
        "Verified": "False",
        "Available": "False",
    }


def test_every_stage_has_its_reason_and_its_condition() -> None:
    cluster = SimulatedCluster()
    reasons = []
    for _ in RUN_STAGES:
        cluster.settle()
        reasons.append(cluster.reason(RECONCILING))
        cluster.start()
        cluster.finish()
    cluster.settle()
    assert reasons == ["GeneratingData", "Training", "Evaluating"]
    assert cluster.reason(RECONCILING) == "RollingOut"
    assert truths(cluster) | {"Available": "?"} == {
        "Ready": "False",
        "Reconciling": "True",
        "DataGenerated": "True",
        "Trained": "True",
        "Evaluated": "True",
        "Verified": "False",
        "Available": "?",
    }


def test_a_served_student_is_ready_and_nothing_else_is_going_on() -> None:
    cluster = served()
    assert truths(cluster) == {
        "Ready": "True",
        "DataGenerated": "True",
        "Trained": "True",
        "Evaluated": "True",
        "Verified": "True",
        "Available": "True",
    }
    assert message(cluster) == "the student is served at http://conjnli.team-a.svc:8000/v1"
    assert cluster.status.progress == "done"


def test_the_served_student_can_be_found_called_and_scaled() -> None:
    serving = served().status.serving
    assert serving is not None
    assert (serving.url, serving.model) == ("http://conjnli.team-a.svc:8000/v1", "conjnli")
    assert serving.model_path == "train-nxevyml5/model"
    assert serving.student_prompt == "generate-khmqypiu/student-prompt.txt"
    assert serving.selector == "app.kubernetes.io/component=serving,distillery.dev/name=conjnli"
    assert (serving.replicas, serving.ready_replicas, serving.image) == (1, 1, "distillery-trainer:1")


def test_ready_waits_for_the_deployment_that_the_spec_asks_for() -> None:
    # A tool that compares observedGeneration must not mistake yesterday's server for today's.
    cluster = served()
    cluster.change(serving={"runtime": "Transformers", "image": "trainer:2"})
    cluster.reconcile(dies_after=1)
    assert (cluster.truth(READY), cluster.reason(RECONCILING)) == ("Unknown", "RollingOut")
    assert cluster.status.observed_generation == 2


def test_an_old_student_serves_while_a_new_one_is_made() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(RECONCILING), cluster.truth(AVAILABLE)) == ("Unknown", "True", "True")
    assert cluster.truth(ConditionType.DATA_GENERATED) == "True"
    assert cluster.truth(ConditionType.TRAINED) == "False"
    assert cluster.status.evaluation is not None
    assert cluster.status.serving is not None
    assert cluster.status.serving.model_path == "train-nxevyml5/model"


def served_precision(cluster: SimulatedCluster) -> str:
    """The argument with which the server was told its arithmetic."""
    manifest = cluster.observation().deployment.manifest
    command = manifest["spec"]["template"]["spec"]["containers"][0]["command"]
    return next(argument for argument in command if argument.startswith("--dtype="))


def test_a_student_is_served_in_the_precision_that_was_measured_also_while_a_new_one_is_made() -> None:
    cluster = begun()
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    cluster.start()
    cluster.finish(evaluation=Table(sample_size=3, precision="float32"))
    cluster.run_stages(Stage.VERIFY)
    assert served_precision(cluster) == "--dtype=float32"
    cluster.change(training={"seed": 7})
    cluster.settle()
    assert served_precision(cluster) == "--dtype=float32"
    cluster.run_stages(Stage.TRAIN)
    cluster.start()
    cluster.finish(evaluation=Table(sample_size=3, precision="bfloat16"))
    cluster.settle()
    assert served_precision(cluster) == "--dtype=bfloat16"


def test_an_evaluation_of_an_earlier_release_leaves_the_precision_to_the_server() -> None:
    assert served_precision(served()) == "--dtype=auto"


def test_failed_train_job_marks_trained_false() -> None:
    cluster = begun()
    cluster.run_stages(Stage.GENERATE)
    cluster.start()
    cluster.fail(2, Reason.INVALID_MODEL, "the model has no chat template")
    cluster.settle()
    assert truths(cluster) == {
        "Ready": "False",
        "Stalled": "True",
        "DataGenerated": "True",
        "Trained": "False",
        "Evaluated": "False",
        "Verified": "False",
        "Available": "False",
    }
    trained = cluster.condition(ConditionType.TRAINED)
    assert trained is not None
    assert (trained.reason, trained.message) == ("InvalidModel", "train: the model has no chat template")


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        ([], "GenerationFailed"),
        ([Stage.GENERATE], "TrainingFailed"),
        ([Stage.GENERATE, Stage.TRAIN], "EvaluationFailed"),
    ],
)
def test_a_failure_without_a_reason_gets_its_stages(done: list[Stage], reason: str) -> None:
    cluster = SimulatedCluster()
    cluster.run_stages(*done)
    cluster.start()
    cluster.fail(2)
    cluster.settle()
    assert (cluster.reason(STALLED), cluster.reason(READY)) == (reason, reason)


def test_a_back_off_says_why_and_until_when() -> None:
    cluster = begun()
    cluster.fail(3, Reason.TEACHER_UNREACHABLE, "teacher.example does not answer")
    cluster.settle()
    assert cluster.reason(RECONCILING) == "ProgressingWithRetry"
    assert message(cluster) == (
        "generate: attempt 1 failed (TeacherUnreachable): teacher.example does not answer;"
        " attempt 2 starts at 12:00:10 UTC"
    )


def test_an_attempt_after_a_failed_one_says_so() -> None:
    cluster = begun()
    cluster.fail(3, Reason.TEACHER_UNREACHABLE, "no answer")
    cluster.settle()
    cluster.wait(10)
    cluster.settle()
    assert cluster.reason(RECONCILING) == "ProgressingWithRetry"
    assert message(cluster) == "generate: attempt 2 is running; the previous attempt failed: no answer"


def test_a_full_cluster_stays_reconciling_however_long_it_lasts() -> None:
    cluster = begun()
    cluster.pod()["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}],
    }
    cluster.settle()
    cluster.wait(100_000)
    cluster.settle()
    assert (cluster.reason(RECONCILING), message(cluster)) == ("Unschedulable", "generate: no GPU")


def test_suspended_is_neither_reconciling_nor_stalled() -> None:
    cluster = begun()
    cluster.change(suspend=True)
    cluster.settle()
    assert (cluster.truth(READY), cluster.reason()) == ("False", "Suspended")
    assert (cluster.truth(ConditionType.SUSPENDED), cluster.truth(RECONCILING), cluster.truth(STALLED)) == (
        "True",
        None,
        None,
    )
    cluster.change(suspend=False)
    cluster.settle()
    assert cluster.truth(ConditionType.SUSPENDED) is None


def test_a_suspended_failure_is_suspended() -> None:
    cluster = begun()
    cluster.fail(2)
    cluster.settle()
    cluster.change(suspend=True)
    cluster.settle()
    assert (cluster.truth(STALLED), cluster.truth(ConditionType.SUSPENDED)) == (None, "True")


def test_a_conditions_time_changes_only_with_its_status() -> None:
    cluster = begun()
    cluster.wait(60)
    cluster.finish()
    cluster.settle()
    reconciling, generated = cluster.condition(RECONCILING), cluster.condition(ConditionType.DATA_GENERATED)
    assert reconciling is not None
    assert generated is not None
    assert (reconciling.reason, reconciling.last_transition_time) == ("Training", START)
    assert generated.last_transition_time == START + timedelta(seconds=60)


def test_every_condition_is_about_the_generation_that_was_seen() -> None:
    cluster = begun()
    cluster.change(serving={"replicas": 0})
    cluster.settle()
    assert cluster.status.observed_generation == 2
    assert {each.observed_generation for each in cluster.status.conditions} == {2}


def test_a_finished_stage_keeps_its_figures() -> None:
    cluster = begun()
    rows = RowCounts(read=10, kept=8, rejected=2, rejected_by_reason={"Unreadable": 2})
    cluster.finish(rows=rows, usage=Usage(requests=10, input_tokens=500, output_tokens=50), message="8 of 10 rows kept")
    cluster.settle()
    record = cluster.record(Stage.GENERATE)
    assert (record.rows, record.message, record.completion_time) == (rows, "8 of 10 rows kept", START)
    assert cluster.status.usage == Usage(requests=10, input_tokens=500, output_tokens=50)
    figures = TrainingFigures(
        steps=5, train_loss=0.1, validation_loss=0.2, trainable_parameters=7, device="cpu", seconds=1.0
    )
    cluster.start()
    cluster.finish(training=figures)
    cluster.settle()
    assert cluster.record(Stage.TRAIN).training == figures
    assert cluster.status.usage == Usage(requests=10, input_tokens=500, output_tokens=50)


def test_a_stage_is_done_when_its_container_ended_not_when_that_was_seen() -> None:
    cluster = begun()
    cluster.finish()
    cluster.wait(3600)
    cluster.settle()
    assert cluster.record(Stage.GENERATE).completion_time == START


def test_a_failed_stage_reports_what_it_used() -> None:
    cluster = begun()
    rows = RowCounts(read=10, kept=2, rejected=8)
    cluster.fail(2, Reason.TOO_FEW_ROWS, "2 of 10 rows", rows=rows, usage=Usage(requests=10))
    cluster.settle()
    record = cluster.record(Stage.GENERATE)
    assert (record.reason, record.message, record.rows) == ("TooFewRows", "2 of 10 rows", rows)
    assert cluster.status.usage == Usage(requests=10)


def test_scores_and_history_come_from_the_evaluation_and_stay() -> None:
    cluster = served()
    table = cluster.status.evaluation
    assert table is not None
    assert table.student is not None
    assert (table.sample_size, table.student.score) == (150, 0.9)
    (run,) = cluster.status.history
    assert (run.model_path, run.student, run.teacher, run.completion_time) == ("train-nxevyml5/model", 0.9, 0.95, START)


def test_history_holds_the_last_five_runs_newest_first_each_once() -> None:
    cluster = served()
    first = cluster.plan.model_path
    for seed in (1, 2, 3, 4, 5, 42):
        cluster.change(training={"seed": seed})
        cluster.settle()
        cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    paths = [run.model_path for run in cluster.status.history]
    assert (len(paths), len(set(paths)), paths[0]) == (5, 5, first)


def test_an_evaluation_whose_table_did_not_fit_shows_no_older_one() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN)
    cluster.start()
    cluster.finish(evaluation=None)
    cluster.settle()
    assert cluster.status.evaluation is None


def test_the_time_that_a_job_waited_for_its_pod_does_not_count_for_the_time_left() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.wait(10_000)
    cluster.start()
    cluster.wait(100)
    cluster.reconcile(progress=Progress(done=25, total=100))
    assert cluster.record(Stage.GENERATE).progress == Progress(done=25, total=100, eta_seconds=300)


def test_progress_has_a_share_and_the_time_left() -> None:
    cluster = begun()
    cluster.wait(100)
    cluster.reconcile(progress=Progress(done=25, total=100))
    assert cluster.record(Stage.GENERATE).progress == Progress(done=25, total=100, eta_seconds=300)
    assert cluster.status.progress == "1/4 generate 25%, 5 min left"
    cluster.reconcile()
    assert cluster.status.progress == "1/4 generate 25%, 5 min left"


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(done=0, total=100), "1/4 generate 0%"),
        (Progress(done=0, total=0), "1/4 generate"),
        (Progress(done=100, total=100), "1/4 generate 100%, 0 s left"),
        (Progress(done=50, total=100, eta_seconds=17), "1/4 generate 50%, 17 s left"),
        (Progress(done=30, total=100), "1/4 generate 30%, 25 s left"),
        (Progress(done=4, total=100), "1/4 generate 4%, 4 min left"),
        (Progress(done=1, total=100), "1/4 generate 1%, 16 min left"),
    ],
)
def test_progress_reads_well(progress: Progress, text: str) -> None:
    cluster = begun()
    cluster.wait(10)
    cluster.reconcile(progress=progress)
    assert cluster.status.progress == text


def test_a_second_attempt_has_no_time_left_since_its_speed_is_not_known() -> None:
    cluster = begun()
    cluster.fail(1)
    cluster.settle()
    cluster.wait(10)
    cluster.settle()
    cluster.start()
    cluster.wait(5)
    cluster.reconcile(progress=Progress(done=90, total=100))
    assert cluster.status.progress == "1/4 generate 90%"


ESTIMATE = Estimate(rows=9, requests=9, input_tokens=900, output_tokens=45, low_tokens=800, high_tokens=2000)


def test_the_estimate_is_shown_from_the_first_report_of_the_running_stage_on() -> None:
    cluster = begun()
    assert cluster.status.estimate is None
    cluster.reconcile(estimate=ESTIMATE)
    assert cluster.status.estimate == ESTIMATE
    cluster.reconcile()
    assert cluster.status.estimate == ESTIMATE


def test_the_estimate_in_the_result_counts_where_no_report_could_be_read() -> None:
    cluster = begun()
    cluster.finish(estimate=ESTIMATE)
    cluster.settle()
    assert cluster.status.estimate == ESTIMATE
    cluster.settle()
    cluster.start()
    cluster.reconcile()
    assert cluster.status.estimate == ESTIMATE


def test_other_rows_have_no_estimate_yet() -> None:
    cluster = begun()
    cluster.reconcile(estimate=ESTIMATE)
    cluster.change(data={**cluster.spec["data"], "version": "2"})
    cluster.settle()
    assert cluster.status.estimate is None


def test_another_learning_rate_leaves_the_estimate_of_the_rows() -> None:
    cluster = begun()
    cluster.finish(estimate=ESTIMATE)
    cluster.settle()
    cluster.change(training={"learningRate": 0.001})
    cluster.settle()
    assert cluster.status.estimate == ESTIMATE


def test_a_rollout_past_its_deadline_stalls_and_says_so() -> None:
    cluster = begun()
    cluster.run_stages(*RUN_STAGES)
    deployment = cluster.objects["Deployment", "conjnli"]
    slow = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], "conditions": [slow]}
    cluster.settle()
    assert (cluster.reason(STALLED), message(cluster)) == (
        "RolloutFailed",
        "serving: the server did not become ready before the rollout deadline",
    )
    cluster.change(serving={"runtime": "Transformers", "image": "trainer:2"})
    cluster.settle()
    assert (cluster.truth(STALLED), cluster.reason(RECONCILING)) == (None, "RollingOut")


def server_pod(cluster: SimulatedCluster, **status: Any) -> None:
    """A Pod of the newest student's server."""
    template = cluster.objects["Deployment", "conjnli"]["spec"]["template"]
    owner = {"kind": "ReplicaSet", "name": "conjnli-1", "uid": "replica-set"}
    cluster.pods["conjnli-1-x"] = {
        "metadata": {**template["metadata"], "name": "conjnli-1-x", "ownerReferences": [owner]},
        "spec": template["spec"],
        "status": {"phase": "Pending", "containerStatuses": [{"name": "stage", **status}]},
    }


def test_a_server_that_cannot_start_is_named_at_once_and_stalls_after_ten_minutes() -> None:
    cluster = begun()
    cluster.run_stages(*RUN_STAGES)
    server_pod(cluster, image="vllm:9", state={"waiting": {"reason": "ErrImagePull", "message": "not found"}})
    cluster.settle()
    assert cluster.reason(RECONCILING) == "ImagePullError"
    assert cluster.requeue_after() == timedelta(minutes=10)
    cluster.wait(600)
    cluster.settle()
    assert (cluster.reason(STALLED), message(cluster)) == (
        "ImagePullError",
        "serving: the image vllm:9 cannot be pulled: not found",
    )


def test_a_ready_student_whose_server_dies_is_not_ready() -> None:
    cluster = served()
    cluster.serve(ready=0)
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(AVAILABLE), cluster.reason(RECONCILING)) == (
        "False",
        "False",
        "RollingOut",
    )


def test_a_verified_student_scaled_to_zero_is_ready_though_nobody_answers() -> None:
    cluster = served()
    cluster.change(serving={"runtime": "Transformers", "replicas": 0})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(AVAILABLE)) == ("True", "False")
    assert message(cluster) == "serving is scaled to zero"


def test_with_serving_off_a_scored_student_is_ready() -> None:
    cluster = begun(serving={"mode": "None"})
    cluster.run_stages(*RUN_STAGES)
    assert (cluster.truth(READY), cluster.reason(), cluster.status.serving) == ("True", "Succeeded", None)


def evaluated(**changes: Any) -> SimulatedCluster:
    """A cluster whose new student's server is about to start."""
    cluster = begun(**changes)
    cluster.run_stages(*RUN_STAGES)
    return cluster


def verifying(**changes: Any) -> SimulatedCluster:
    """A cluster whose new student is served and being verified."""
    cluster = evaluated(**changes)
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.settle()
    return cluster


def test_a_served_student_is_not_ready_nor_available_before_it_is_verified() -> None:
    cluster = verifying()
    assert (cluster.truth(READY), cluster.reason(RECONCILING), cluster.truth(AVAILABLE)) == (
        "False",
        "Verifying",
        "False",
    )
    assert message(cluster) == "verify: the served student is being asked rows of the evaluation"
    assert message(cluster, AVAILABLE) == "the server of train-nxevyml5/model answers, but is not verified"
    assert cluster.status.progress == "4/4 verify"
    assert cluster.status.serving is not None
    assert cluster.status.serving.verification is None


def test_while_the_server_starts_the_status_is_about_the_server() -> None:
    cluster = evaluated()
    assert (cluster.reason(), cluster.status.progress) == ("RollingOut", "rolling out")
    assert cluster.jobs() == [record.job for record in cluster.status.stages]


def test_a_verified_students_latency_is_that_of_its_server() -> None:
    cluster = verifying()
    assert cluster.status.evaluation is not None
    assert cluster.status.evaluation.student == Score(score=0.9)
    cluster.finish(verification=VERIFIED.model_copy(update={"latency_seconds": 1.5, "busy": True}))
    cluster.settle()
    assert cluster.status.evaluation.student == Score(score=0.9, latency_seconds=1.5)
    assert cluster.status.serving is not None
    verification = cluster.status.serving.verification
    assert verification is not None
    assert (verification.rows, verification.alike, verification.latency_seconds, verification.busy) == (
        16,
        16,
        1.5,
        True,
    )
    assert message(cluster, ConditionType.VERIFIED) == "16 of 16 rows answered as in the evaluation; 0.18 s per request"


def test_what_a_thousand_calls_cost_stands_beside_the_scores_and_the_server_once_the_speed_is_measured() -> None:
    cluster = verifying(serving={"costPerHour": 3.6})
    assert cluster.status.evaluation is not None
    assert cluster.status.evaluation.cost is None
    measured = Measurement(
        tokens_per_second=20.0,
        concurrent_requests=4,
        concurrent_tokens_per_second=50.0,
        requests_per_second=10.0,
        latency_p50_seconds=0.3,
        latency_p95_seconds=0.5,
        requests=80,
    )
    cluster.finish(verification=VERIFIED.model_copy(update={"measurement": measured}))
    cluster.settle()
    assert cluster.status.evaluation.cost == CallCosts(student=0.1)
    assert cluster.status.serving is not None
    assert cluster.status.serving.cost is not None
    assert cluster.status.serving.cost.per_thousand_calls == 0.1


def test_a_student_that_answers_otherwise_than_it_was_evaluated_stalls_and_is_not_available() -> None:
    cluster = verifying()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    cluster.settle()
    assert (cluster.reason(STALLED), message(cluster)) == (
        "VerificationFailed",
        "verify: 3 of 16 rows were answered otherwise",
    )
    assert cluster.truth(AVAILABLE) == "False"
    # A restart of the server does not hide why the student is not available.
    cluster.serve(ready=0)
    cluster.settle()
    assert cluster.reason(STALLED) == "VerificationFailed"


def test_a_failed_verification_is_retried_on_request_and_nothing_else_runs_again() -> None:
    cluster = verifying()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    cluster.settle()
    made = len(cluster.created)
    cluster.request_retry()
    cluster.settle()
    assert cluster.created[made:] == [f"conjnli-{cluster.plan.stage(Stage.VERIFY).folder}-2"]
    cluster.finish()
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(AVAILABLE)) == ("True", "True")


def test_another_server_is_verified_once_it_is_rolled_out() -> None:
    cluster = served()
    cluster.change(serving={"runtime": "Transformers", "image": "trainer:2"})
    cluster.settle()
    # Pods of the verified server answer until those of the new one have replaced them.
    assert (cluster.truth(AVAILABLE), cluster.reason()) == ("True", "RollingOut")
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.reason()) == ("False", "Verifying")
    cluster.finish()
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.truth(READY)) == ("True", "True")
    assert [record.attempts for record in cluster.status.stages] == [1, 1, 1, 1]


def test_an_earlier_student_stays_verified_and_available_while_a_new_one_is_made() -> None:
    cluster = served()
    before = cluster.status.serving
    cluster.change(training={"seed": 7})
    cluster.settle()
    assert cluster.truth(AVAILABLE) == "True"
    assert cluster.status.serving == before
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.reason()) == ("False", "Verifying")


def test_a_student_scaled_to_zero_is_ready_and_verified_once_it_is_scaled_up() -> None:
    cluster = evaluated(serving={"runtime": "Transformers", "replicas": 0})
    cluster.serve()
    cluster.settle()
    waiting = "serving is scaled to zero; the student is verified once it is scaled up"
    assert (cluster.truth(READY), cluster.reason(), message(cluster)) == ("True", "Serving", waiting)
    verified = cluster.condition(ConditionType.VERIFIED)
    assert verified is not None
    assert (verified.status, verified.reason, verified.message) == ("False", "Queued", waiting)
    assert (cluster.truth(AVAILABLE), cluster.status.progress, cluster.requeue_after()) == ("False", "done", None)
    cluster.change(serving={"runtime": "Transformers", "replicas": 1})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), cluster.reason()) == ("False", "Verifying")


def test_a_student_that_an_earlier_release_made_is_verified_once_and_not_trained_again() -> None:
    cluster = served()
    made = len(cluster.created)
    left_by_earlier_release(cluster)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    assert cluster.created[made:] == [f"conjnli-verify-{cluster.record(Stage.VERIFY).input_hash}-1"]
    cluster.finish()
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(AVAILABLE), len(cluster.created)) == ("True", "True", made + 1)


def left_by_earlier_release(cluster: SimulatedCluster) -> None:
    """As that release left it: a status without verify, and a Deployment whose digest says something else."""
    cluster.objects.pop(("Job", cluster.record(Stage.VERIFY).job or ""))
    annotations = cluster.objects["Deployment", "conjnli"]["metadata"]["annotations"]
    annotations["distillery.dev/digest"] = "older"
    del annotations["distillery.dev/server"]
    assert cluster.status.serving is not None
    serving = cluster.status.serving.model_copy(update={"verification": None})
    (run,) = cluster.status.history
    history = (Run(completion_time=run.completion_time, model_path=run.model_path, student=run.student),)
    update = {"stages": cluster.status.stages[:3], "serving": serving, "history": history}
    cluster.status = cluster.status.model_copy(update=update)


def of_earlier_release(**changes: Any) -> SimulatedCluster:
    """A served student as a release without verification left it, under a spec with these changes."""
    cluster = served()
    left_by_earlier_release(cluster)
    conditions = tuple(each for each in cluster.status.conditions if each.type is not ConditionType.VERIFIED)
    cluster.status = cluster.status.model_copy(update={"conditions": conditions})
    cluster.change(**changes)
    cluster.settle()
    return cluster


def test_a_suspended_student_of_an_earlier_release_stays_available_until_verify_has_run() -> None:
    cluster = of_earlier_release(suspend=True)
    assert (cluster.truth(AVAILABLE), cluster.reason()) == ("True", "Suspended")
    # Its server is replaced, and none answers meanwhile.
    cluster.serve(ready=0)
    cluster.settle()
    assert cluster.truth(AVAILABLE) == "False"
    cluster.serve()
    cluster.settle()
    assert cluster.truth(AVAILABLE) == "True"
    assert message(cluster, AVAILABLE) == "a server of train-nxevyml5/model is available, and not verified yet"
    cluster.change(suspend=False)
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.truth(READY), cluster.reason()) == ("True", "Unknown", "Verifying")
    cluster.start()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.reason(STALLED)) == ("False", "VerificationFailed")
    cluster.request_retry()
    cluster.settle()
    assert cluster.truth(AVAILABLE) == "False"
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert (cluster.truth(AVAILABLE), cluster.truth(READY)) == ("True", "True")


def test_an_invalid_spec_stalls_and_leaves_what_serves_alone() -> None:
    cluster = served()
    before = cluster.status
    metadata = Metadata(name="conjnli", generation=9)
    after = invalid_status(metadata, before, cluster.now, "spec.task: Sorting is no task")
    assert {each.type: each.status for each in after.conditions} == {
        "Ready": "False",
        "Stalled": "True",
        "DataGenerated": "True",
        "Trained": "True",
        "Evaluated": "True",
        "Verified": "True",
        "Available": "True",
    }
    assert (after.observed_generation, after.serving, after.stages) == (9, before.serving, before.stages)
    assert invalid_status(metadata, after, cluster.now + timedelta(hours=1), "spec.task: Sorting is no task") == after


def test_the_status_survives_the_api_server_unchanged() -> None:
    status = served().status
    assert DistillationStatus.model_validate_json(status.model_dump_json(by_alias=True)) == status


def test_a_reported_table_is_taken_over_as_it_is() -> None:
    cluster = begun()
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    cluster.start()
    verdict = Verdict(kind="TooFewRows", message="3 rows.", remedy="MoreHeldOutRows", next_step="Add rows.")
    table = Table(
        sample_size=3, student=Score(score=1.0, low=0.4, high=1.0), gap_closed=0.5, device="cpu", verdict=verdict
    )
    cluster.finish(evaluation=table)
    cluster.settle()
    assert cluster.status.evaluation == table
