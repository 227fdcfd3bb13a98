from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts
from distillery_api.status import ConditionType, DistillationStatus
from distillery_operator.core.actions import Action, Apply, Create, Delete, DryRun, Merge
from distillery_operator.core.retry_policy import RetrySettings
from distillery_operator.core.situation import names_to_read
from distillery_operator.errors import Invalid
from simulated_cluster import RUN_STAGES, UID, SimulatedCluster, written

GENERATE_JOB = "conjnli-generate-khmqypiu-1"
TRAIN_JOB = "conjnli-train-nxevyml5-1"


def described(actions: tuple[Action, ...]) -> list[str]:
    """Actions in short."""
    return [description(action) for action in actions]


def description(action: Action) -> str:
    match action:
        case DryRun(manifest) | Create(manifest) | Apply(manifest):
            return f"{type(action).__name__} {manifest['kind']} {manifest['metadata']['name']}"
        case Merge("Job", name, {"spec": {"suspend": suspended}}):
            return f"{'Suspend' if suspended else 'Resume'} {name}"
        case Delete(kind, name) | Merge(kind, name):
            return f"{type(action).__name__} {kind} {name}"


def begun(**changes: Any) -> SimulatedCluster:
    """A cluster whose first stage has a Pod that does not run yet."""
    cluster = SimulatedCluster(**changes)
    cluster.settle()
    return cluster


def served() -> SimulatedCluster:
    """A cluster whose student is served."""
    cluster = begun()
    cluster.run_stages(*Stage)
    return cluster


def test_every_pod_to_come_is_checked_before_the_first_write() -> None:
    cluster = SimulatedCluster()
    assert described(cluster.decisions()) == [
        "DryRun Pod conjnli-generate-khmqypiu-check",
        "DryRun Pod conjnli-train-nxevyml5-check",
        "DryRun Pod conjnli-evaluate-cjwr55cz-check",
        f"DryRun Pod conjnli-{cluster.plan.stage(Stage.VERIFY).folder}-check",
        "DryRun Pod conjnli-check",
        "Create PersistentVolumeClaim conjnli-workspace-5f0c1a2b",
        "Create ConfigMap conjnli-generate-khmqypiu",
        f"Create Job {GENERATE_JOB}",
    ]


def test_a_given_claim_is_not_created() -> None:
    cluster = SimulatedCluster(storage={"claimName": "mine"})
    assert described(cluster.decisions()) == []
    cluster.settle()
    assert cluster.reason() == "ConfigurationMissing"
    cluster.objects["PersistentVolumeClaim", "mine"] = {"metadata": {"name": "mine"}, "spec": {"accessModes": []}}
    assert described(cluster.decisions())[-2:] == [
        "Create ConfigMap conjnli-generate-khmqypiu",
        f"Create Job {GENERATE_JOB}",
    ]


def test_with_serving_off_no_server_is_checked() -> None:
    assert "DryRun Pod conjnli-check" not in described(SimulatedCluster(serving={"mode": "None"}).decisions())


def test_the_next_stage_starts_in_the_pass_that_sees_the_last_one_done() -> None:
    cluster = begun()
    cluster.start()
    cluster.finish()
    assert f"Create Job {TRAIN_JOB}" in described(cluster.decisions())


def test_the_status_names_the_job_before_it_is_created() -> None:
    cluster = SimulatedCluster()
    cluster.reconcile(dies_after=1)
    assert (cluster.record(Stage.GENERATE).job, cluster.jobs()) == (GENERATE_JOB, [])
    assert cluster.status.workspace_claim == "conjnli-workspace-5f0c1a2b"


def test_an_operator_that_died_before_creating_a_job_creates_that_one() -> None:
    cluster = SimulatedCluster()
    cluster.reconcile(dies_after=1)
    cluster.wait(100)
    assert described(cluster.decisions())[-1] == f"Create Job {GENERATE_JOB}"
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 1
    assert cluster.record(Stage.GENERATE).start_time == cluster.now - timedelta(seconds=100)


def test_a_finished_stage_does_not_run_again_when_its_job_was_deleted() -> None:
    cluster = served()
    for name in cluster.jobs():
        del cluster.objects["Job", name]
    assert described(cluster.decisions()) == []


def test_a_lost_status_is_found_again_in_the_jobs() -> None:
    cluster = begun()
    cluster.start()
    cluster.status = DistillationStatus()
    cluster.settle()
    assert cluster.jobs() == [GENERATE_JOB]
    assert (cluster.record(Stage.GENERATE).job, cluster.record(Stage.GENERATE).attempts) == (GENERATE_JOB, 1)


def test_exit_code_2_stalls_at_once_and_is_not_retried() -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(2, Reason.TEACHER_REJECTED, "HTTP 401: wrong key")
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), described(cluster.decisions())) == ("TeacherRejected", [])
    assert cluster.requeue_after() is None


@pytest.mark.parametrize("exit_code", [1, 3, 137, 143])
def test_other_failures_are_retried_after_a_back_off(exit_code: int) -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(exit_code)
    cluster.settle()
    assert described(cluster.decisions()) == []
    assert cluster.requeue_after() == timedelta(seconds=10)
    cluster.wait(10)
    assert described(cluster.decisions()) == [
        "Apply ConfigMap conjnli-generate-khmqypiu",
        "Create Job conjnli-generate-khmqypiu-2",
    ]


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    retry = RetrySettings()
    assert [retry.delay(attempts).total_seconds() for attempts in (1, 2, 3, 5, 6, 9_999)] == [10, 20, 40, 160, 300, 300]


def test_attempts_end_at_the_deadline_with_the_root_cause() -> None:
    cluster = begun()
    while cluster.truth(ConditionType.STALLED) is None:
        cluster.start()
        cluster.fail(3, Reason.TEACHER_UNREACHABLE, "no answer")
        cluster.settle()
        cluster.wait((cluster.requeue_after() or timedelta()).total_seconds())
        cluster.settle()
    assert cluster.reason(ConditionType.STALLED) == "TeacherUnreachable"
    assert cluster.record(Stage.GENERATE).attempts == 16
    assert described(cluster.decisions()) == []


def test_a_long_attempt_restarts_the_retry_deadline_unless_it_ran_out_of_memory() -> None:
    for reason, stalled in (("Error", None), ("OOMKilled", "ContainerOOMKilled")):
        cluster = begun()
        for _ in range(2):
            cluster.start()
            cluster.wait(5000)
            cluster.end(137, reason=reason)
            cluster.settle()
            cluster.wait(60)
            cluster.settle()
        assert cluster.reason(ConditionType.STALLED) == stalled


def test_only_the_last_attempts_keep_their_jobs() -> None:
    cluster = begun(generation={**SimulatedCluster().spec["generation"], "maxAttempts": 9})
    for _ in range(5):
        cluster.start()
        cluster.fail(1)
        cluster.settle()
        cluster.wait(300)
        cluster.settle()
    assert cluster.jobs() == [f"conjnli-generate-khmqypiu-{attempt}" for attempt in (4, 5, 6)]


def test_a_retry_annotation_runs_a_stalled_stage_again_once() -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(2)
    cluster.settle()
    cluster.request_retry()
    assert described(cluster.decisions())[-1] == "Create Job conjnli-generate-khmqypiu-2"
    cluster.settle()
    assert cluster.status.last_handled_retry_at == "2026-11-25T12:00:00Z"
    cluster.start()
    cluster.fail(2)
    cluster.settle()
    assert (described(cluster.decisions()), cluster.record(Stage.GENERATE).attempts) == ([], 2)


def test_a_retry_annotation_ends_a_back_off_and_does_nothing_to_a_running_stage() -> None:
    cluster = begun()
    cluster.start()
    cluster.request_retry()
    cluster.settle()
    assert cluster.jobs() == [GENERATE_JOB]
    cluster.fail(3)
    cluster.settle()
    cluster.wait(1)
    cluster.request_retry()
    assert described(cluster.decisions())[-1] == "Create Job conjnli-generate-khmqypiu-2"


def test_a_retry_annotation_asks_rows_again_after_a_transient_failure() -> None:
    cluster = begun()
    cluster.start()
    cluster.finish(rows=RowCounts(read=9, kept=6, rejected=3, transient_failures=3))
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    served, before = cluster.status.serving, cluster.record(Stage.TRAIN).input_hash
    cluster.wait(60)
    assert described(cluster.decisions()) == []
    cluster.request_retry()
    cluster.settle()
    assert cluster.record(Stage.GENERATE).job == "conjnli-generate-khmqypiu-2"
    cluster.start()
    cluster.wait(60)
    cluster.finish(rows=RowCounts(read=9, kept=9), rows_revision="1a2b3c4d")
    cluster.settle()
    assert cluster.status.serving == served
    assert cluster.record(Stage.GENERATE).rows_revision == "1a2b3c4d"
    assert cluster.record(Stage.TRAIN).input_hash != before
    assert cluster.record(Stage.TRAIN).attempts == 1
    cluster.start()
    cluster.finish()
    cluster.run_stages(Stage.EVALUATE, Stage.VERIFY)
    assert cluster.reason() == "Serving"
    assert cluster.record(Stage.TRAIN).input_hash in cluster.status.serving.model_path
    cluster.wait(60)
    cluster.request_retry()
    assert described(cluster.decisions()) == []


def test_rows_that_fail_again_run_no_later_stage() -> None:
    cluster = begun()
    cluster.start()
    failed = RowCounts(read=9, kept=6, rejected=3, transient_failures=3)
    cluster.finish(rows=failed)
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    jobs = [cluster.record(stage).job for stage in (Stage.TRAIN, Stage.EVALUATE)]
    cluster.wait(60)
    cluster.request_retry()
    cluster.settle()
    cluster.start()
    cluster.finish(rows=failed)
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 2
    assert [cluster.record(stage).job for stage in (Stage.TRAIN, Stage.EVALUATE)] == jobs
    assert cluster.reason() == "Serving"


TRANSIENT = RowCounts(read=9, kept=6, rejected=3, transient_failures=3)


@pytest.mark.parametrize("stage", [Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY])
def test_a_retry_after_a_later_stage_failed_is_about_that_stage(stage: Stage) -> None:
    cluster = begun()
    cluster.start()
    cluster.finish(rows=TRANSIENT)
    cluster.run_stages(*(each for each in (Stage.TRAIN, Stage.EVALUATE) if each.number < stage.number))
    cluster.settle()
    if stage is Stage.VERIFY:
        cluster.serve()
        cluster.settle()
    cluster.start()
    cluster.fail(2)
    cluster.settle()
    cluster.request_retry()
    cluster.settle()
    assert [cluster.record(each).attempts for each in (Stage.GENERATE, stage)] == [1, 2]
    assert cluster.job()["metadata"]["name"] == cluster.record(stage).job


def test_what_later_stages_did_stays_known_while_rows_are_requested_again() -> None:
    cluster = begun()
    cluster.start()
    cluster.finish(rows=TRANSIENT)
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    later, history = cluster.status.stages[1:], cluster.status.history
    cluster.request_retry()
    cluster.settle()
    assert (cluster.record(Stage.GENERATE).completion_time, cluster.status.stages[1:]) == (None, later)
    for name in (record.job for record in later):
        del cluster.objects["Job", name or ""]
    cluster.start()
    cluster.finish(rows=TRANSIENT)
    made = len(cluster.created)
    cluster.settle()
    assert (cluster.created[made:], cluster.status.stages[1:], cluster.status.history) == ([], later, history)
    assert cluster.reason() == "Serving"


def test_a_retry_while_a_later_stage_runs_leaves_the_rows_as_they_are() -> None:
    cluster = begun()
    cluster.start()
    cluster.finish(rows=RowCounts(read=9, kept=6, rejected=3, transient_failures=3))
    cluster.settle()
    cluster.start()
    cluster.request_retry()
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 1
    assert cluster.record(Stage.TRAIN).completion_time is None


def test_a_retry_requested_while_suspended_is_not_forgotten() -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(2)
    cluster.settle()
    cluster.change(suspend=True)
    cluster.request_retry()
    cluster.settle()
    cluster.change(suspend=False)
    cluster.settle()
    assert cluster.record(Stage.GENERATE).job == "conjnli-generate-khmqypiu-2"


def test_a_raised_budget_runs_a_stalled_stage_again() -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(2, Reason.BUDGET_EXCEEDED)
    cluster.settle()
    cluster.change(generation={**cluster.spec["generation"], "budget": {"maxTokens": 10_000_000}})
    assert described(cluster.decisions())[:1] == ["DryRun Pod conjnli-generate-khmqypiu-check"]
    cluster.settle()
    assert cluster.record(Stage.GENERATE).job == "conjnli-generate-khmqypiu-2"


def test_a_change_that_has_nothing_to_do_with_it_leaves_a_stalled_stage_alone() -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(2, Reason.BUDGET_EXCEEDED)
    cluster.settle()
    cluster.change(serving={"replicas": 0})
    assert described(cluster.decisions()) == []


@pytest.mark.parametrize(
    "settings",
    [{"trainer_image": "distillery-trainer:2"}, {"stage_grace_seconds": 7}, {"run_as_user": None, "fs_group": None}],
)
def test_an_upgrade_retries_no_stalled_stage(settings: dict[str, Any]) -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(2, Reason.BUDGET_EXCEEDED)
    cluster.settle()
    cluster.install(**settings)
    cluster.settle()
    cluster.change(serving={"replicas": 0})
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), cluster.record(Stage.GENERATE).attempts) == ("BudgetExceeded", 1)
    cluster.change(generation={**cluster.spec["generation"], "budget": {"maxTokens": 10_000_000}})
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 2


def test_a_release_that_calculates_configurations_otherwise_retries_no_stalled_stage() -> None:
    cluster = begun()
    cluster.start()
    cluster.fail(2, Reason.BUDGET_EXCEEDED)
    cluster.settle()
    (record, *_) = cluster.status.stages
    of_the_release_before = record.model_copy(update={"configuration": "a-digest"})
    cluster.status = cluster.status.model_copy(update={"stages": (of_the_release_before,)})
    cluster.settle()
    cluster.change(suspend=True)
    cluster.settle()
    cluster.change(suspend=False)
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), cluster.record(Stage.GENERATE).attempts) == ("BudgetExceeded", 1)


def test_a_pod_that_waits_for_the_installations_image_gets_the_corrected_one() -> None:
    cluster = begun()
    cluster.wait_for("ErrImagePull", "not found")
    cluster.settle()
    cluster.install(trainer_image="distillery-trainer:2")
    cluster.settle()
    assert cluster.job()["spec"]["template"]["spec"]["containers"][0]["image"] == "distillery-trainer:2"
    assert (cluster.jobs(), cluster.record(Stage.GENERATE).attempts) == ([GENERATE_JOB], 1)


def test_an_upgrade_leaves_a_running_stage_alone() -> None:
    cluster = begun()
    cluster.start()
    cluster.install(trainer_image="distillery-trainer:2", stage_grace_seconds=7)
    assert described(cluster.decisions()) == []


def test_an_image_that_cannot_be_pulled_stalls_after_ten_minutes_and_recovers_by_itself() -> None:
    cluster = begun()
    cluster.wait_for("ErrImagePull", "not found")
    cluster.settle()
    assert (cluster.reason(ConditionType.RECONCILING), cluster.requeue_after()) == (
        "ImagePullError",
        timedelta(minutes=10),
    )
    cluster.wait(599)
    cluster.settle()
    assert cluster.truth(ConditionType.STALLED) is None
    cluster.wait(1)
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), cluster.truth(ConditionType.RECONCILING)) == ("ImagePullError", None)
    cluster.start()
    cluster.settle()
    assert (cluster.reason(ConditionType.RECONCILING), cluster.truth(ConditionType.STALLED)) == ("GeneratingData", None)


def test_a_job_that_cannot_start_is_replaced_after_a_corrected_spec() -> None:
    cluster = begun(generation={**SimulatedCluster().spec["generation"], "image": "trianer:1"})
    cluster.wait_for("ErrImagePull", "not found")
    cluster.settle()
    cluster.change(generation={**cluster.spec["generation"], "image": "trainer:1"})
    assert described(cluster.decisions()) == [f"Delete Job {GENERATE_JOB}"]
    cluster.settle()
    assert cluster.job()["spec"]["template"]["spec"]["containers"][0]["image"] == "trainer:1"
    assert (cluster.jobs(), cluster.record(Stage.GENERATE).attempts) == ([GENERATE_JOB], 1)


def test_a_running_job_is_left_alone_by_a_change_that_keeps_its_identity() -> None:
    cluster = begun()
    cluster.start()
    cluster.change(generation={**cluster.spec["generation"], "image": "trainer:2", "concurrency": 7})
    assert described(cluster.decisions()) == []


def test_a_retry_annotation_replaces_a_blocked_job_even_if_the_operator_dies_meanwhile() -> None:
    cluster = begun()
    cluster.wait_for("ErrImagePull", "not found")
    cluster.settle()
    cluster.wait(1)
    cluster.request_retry()
    assert described(cluster.decisions()) == [f"Delete Job {GENERATE_JOB}"]
    cluster.reconcile(dies_after=1)
    assert described(cluster.decisions()) == [f"Delete Job {GENERATE_JOB}"]
    cluster.settle()
    assert described(cluster.decisions()) == []


def test_new_inputs_stop_the_old_run_before_the_new_one_begins() -> None:
    cluster = begun()
    cluster.start()
    cluster.change(data={**cluster.spec["data"], "version": "2"})
    first = described(cluster.decisions())
    assert first == [f"Delete Job {GENERATE_JOB}", "Delete ConfigMap conjnli-generate-khmqypiu"]
    cluster.reconcile()
    assert described(cluster.decisions()) == []
    assert cluster.condition(ConditionType.RECONCILING).message == (  # type: ignore[union-attr]
        f"generate: waiting for the Job {GENERATE_JOB} to stop"
    )
    cluster.collect()
    cluster.settle()
    assert len(cluster.jobs()) == 1
    assert cluster.jobs() != [GENERATE_JOB]


def test_the_next_job_waits_for_an_orphaned_pod() -> None:
    cluster = begun()
    cluster.start()
    del cluster.objects["Job", GENERATE_JOB]
    cluster.reconcile()
    assert described(cluster.decisions()) == []
    (pod,) = cluster.pods
    assert cluster.condition(ConditionType.READY).message == (  # type: ignore[union-attr]
        f"generate: waiting for the Pod {pod} to stop"
    )


def test_a_new_learning_rate_keeps_the_rows() -> None:
    cluster = served()
    cluster.change(training={"learningRate": 0.001})
    cluster.settle()
    assert [record.name for record in cluster.status.stages] == [Stage.GENERATE, Stage.TRAIN]
    assert GENERATE_JOB in cluster.jobs()
    assert TRAIN_JOB not in cluster.jobs()


def test_suspending_stops_the_job_and_resuming_continues_it() -> None:
    cluster = begun()
    cluster.start()
    cluster.change(suspend=True)
    assert described(cluster.decisions()) == [f"Suspend {GENERATE_JOB}"]
    cluster.settle()
    assert (cluster.pods, described(cluster.decisions())) == ({}, [])
    cluster.change(suspend=False)
    assert described(cluster.decisions()) == [f"Resume {GENERATE_JOB}"]
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 1


def test_a_suspended_job_with_an_outdated_template_is_replaced_when_it_is_resumed() -> None:
    cluster = begun()
    cluster.change(suspend=True)
    cluster.settle()
    cluster.change(suspend=False, generation={**cluster.spec["generation"], "concurrency": 7})
    assert described(cluster.decisions()) == [f"Delete Job {GENERATE_JOB}"]


def test_suspended_from_the_start_nothing_is_created() -> None:
    cluster = SimulatedCluster(suspend=True)
    cluster.settle()
    assert (cluster.objects, cluster.reason(), cluster.requeue_after()) == ({}, "Suspended", None)


def test_a_finished_evaluation_rolls_the_student_out() -> None:
    cluster = begun()
    for _ in RUN_STAGES:
        cluster.start()
        cluster.finish()
        decisions = described(cluster.decisions())
        cluster.settle()
    assert decisions == [
        "DryRun Pod conjnli-check",
        "Create Deployment conjnli",
        "Create Service conjnli",
        "Merge Job conjnli-evaluate-cjwr55cz-1",
    ]


def test_replicas_change_the_deployment_and_nothing_else() -> None:
    cluster = served()
    cluster.change(serving={"runtime": "Transformers", "replicas": 0})
    # There are no other Pods to check.
    assert described(cluster.decisions()) == ["Apply Deployment conjnli"]


def test_during_a_new_run_the_old_student_follows_the_spec() -> None:
    cluster = served()
    cluster.change(training={"seed": 7}, serving={"runtime": "Transformers", "replicas": 0})
    cluster.settle()
    deployment = cluster.objects["Deployment", "conjnli"]
    assert deployment["spec"]["replicas"] == 0
    assert deployment["metadata"]["annotations"]["distillery.dev/model-path"] == "train-nxevyml5/model"


def test_the_new_student_takes_over_when_its_evaluation_is_done() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    path = cluster.objects["Deployment", "conjnli"]["metadata"]["annotations"]["distillery.dev/model-path"]
    assert path == cluster.plan.model_path != "train-nxevyml5/model"


def test_serving_off_deletes_the_server_and_on_creates_it_again() -> None:
    cluster = served()
    verify = cluster.plan.stage(Stage.VERIFY).folder
    cluster.change(serving={"mode": "None"})
    assert described(cluster.decisions()) == [
        f"Delete Job conjnli-{verify}-1",
        f"Delete ConfigMap conjnli-{verify}",
        "Delete Deployment conjnli",
        "Delete Service conjnli",
    ]
    cluster.settle()
    assert cluster.reason() == "Succeeded"
    cluster.change(serving={"mode": "Deployment"})
    assert described(cluster.decisions())[-2:] == ["Create Deployment conjnli", "Create Service conjnli"]


def test_drift_in_the_deployment_is_repaired() -> None:
    cluster = served()
    container = cluster.objects["Deployment", "conjnli"]["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "theirs:1"
    assert described(cluster.decisions())[-1] == "Apply Deployment conjnli"
    cluster.settle()
    del cluster.objects["Service", "conjnli"]
    assert described(cluster.decisions()) == ["Create Service conjnli"]


def test_deployment_that_was_paused_by_hand_is_resumed() -> None:
    cluster = served()
    cluster.objects["Deployment", "conjnli"]["spec"]["paused"] = True
    (action,) = cluster.decisions()
    assert isinstance(action, Apply)
    assert action.manifest["spec"]["paused"] is False


def test_labels_that_were_added_to_the_services_selector_are_removed() -> None:
    cluster = served()
    cluster.objects["Service", "conjnli"]["spec"]["selector"] |= {"release": "blue", "team": "a"}
    assert cluster.decisions() == (
        Merge("Service", "conjnli", {"spec": {"selector": {"release": None, "team": None}}}),
    )


def test_what_the_server_adds_to_the_deployment_is_no_drift() -> None:
    cluster = served()
    deployment = cluster.objects["Deployment", "conjnli"]
    deployment["spec"]["template"]["spec"]["schedulerName"] = "default-scheduler"
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "0.25"
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    assert described(cluster.decisions()) == []


def test_suspended_the_student_that_is_served_stays() -> None:
    cluster = served()
    cluster.change(suspend=True, training={"seed": 7})
    cluster.settle()
    assert described(cluster.decisions()) == []
    assert cluster.truth(ConditionType.AVAILABLE) == "True"


def test_retention_sets_and_removes_the_owner_of_the_claim_and_nothing_else() -> None:
    cluster, claim = served(), "conjnli-workspace-5f0c1a2b"
    backup = {"apiVersion": "v1", "kind": "ConfigMap", "name": "backup", "uid": "uid-of-the-backup"}
    cluster.objects["PersistentVolumeClaim", claim]["metadata"]["ownerReferences"] = [backup]
    distillation = {"apiVersion": "distillery.dev/v1alpha1", "kind": "Distillation", "name": "conjnli", "uid": UID}
    ours = {**distillation, "controller": True, "blockOwnerDeletion": True}

    cluster.change(storage={"retention": "Delete"})
    patch = {"metadata": {"ownerReferences": [backup, ours]}}
    assert cluster.decisions() == (Merge("PersistentVolumeClaim", claim, patch),)
    cluster.settle()
    assert cluster.decisions() == ()

    cluster.change(storage={})
    patch = {"metadata": {"ownerReferences": [backup]}}
    assert cluster.decisions() == (Merge("PersistentVolumeClaim", claim, patch),)
    cluster.settle()
    assert cluster.decisions() == ()


def test_a_deleted_workspace_is_not_paid_for_again() -> None:
    cluster = begun()
    cluster.start()
    cluster.finish()
    del cluster.objects["PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"]
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), described(cluster.decisions())) == ("WorkspaceLost", [])


@pytest.mark.parametrize(
    ("storage", "name", "remedy"),
    [
        (
            {},
            "conjnli-workspace-5f0c1a2b",
            "restore the claim, or delete this Distillation and apply it again, which runs and pays for every stage"
            " again",
        ),
        ({"claimName": "mine"}, "mine", "restore the volume from a backup"),
    ],
)
def test_a_claim_without_its_volume_stalls_with_a_remedy_that_helps(
    storage: dict[str, str], name: str, remedy: str
) -> None:
    cluster = SimulatedCluster(storage=storage)
    claim = {"metadata": {"name": name, "uid": "u"}, "spec": {}, "status": {"phase": "Lost"}}
    cluster.objects["PersistentVolumeClaim", name] = claim
    cluster.settle()
    stalled = next(condition for condition in cluster.status.conditions if condition.type is ConditionType.STALLED)
    assert (stalled.reason, stalled.message) == (
        "WorkspaceLost",
        f"generate: the claim {name} has lost its volume; {remedy}",
    )


def test_a_claim_that_is_being_deleted_is_waited_for() -> None:
    cluster = SimulatedCluster()
    claim = {"metadata": {"name": "w", "deletionTimestamp": written(cluster.now)}, "spec": {}}
    cluster.objects["PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"] = claim
    assert described(cluster.decisions()) == []
    cluster.reconcile()
    assert cluster.reason(ConditionType.RECONCILING) == "VolumeUnavailable"


def test_a_foreign_job_is_never_adopted_nor_deleted() -> None:
    cluster = SimulatedCluster()
    cluster.objects["Job", GENERATE_JOB] = {
        "kind": "Job",
        "metadata": {"name": GENERATE_JOB, "uid": "theirs"},
        "spec": {"suspend": True},
    }
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), described(cluster.decisions())) == ("NameConflict", [])
    assert names_to_read(cluster.plan, cluster.status) == (
        ("Job", GENERATE_JOB),
        ("PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"),
        *(("ConfigMap", f"conjnli-{planned.folder}") for planned in cluster.plan.stages),
        ("Deployment", "conjnli"),
        ("Service", "conjnli"),
    )
    assert cluster.requeue_after() == timedelta(minutes=1)


def test_a_foreign_config_map_is_left_alone_and_named() -> None:
    cluster = SimulatedCluster()
    name = "conjnli-generate-khmqypiu"
    theirs = {"kind": "ConfigMap", "metadata": {"name": name, "uid": "theirs"}, "data": {"a": "b"}}
    cluster.objects["ConfigMap", name] = theirs
    cluster.settle()
    assert (cluster.objects["ConfigMap", name], cluster.jobs()) == (theirs, [])
    stalled = cluster.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (stalled.reason, stalled.message) == (
        "NameConflict",
        f"generate: the ConfigMap {name} already exists and belongs to something else; delete it, or choose another"
        " metadata.name",
    )
    assert ("ConfigMap", name) in names_to_read(cluster.plan, cluster.status)
    del cluster.objects["ConfigMap", name]
    cluster.settle()
    assert cluster.jobs() == [GENERATE_JOB]


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_a_foreign_server_is_found_before_anything_is_paid(kind: str) -> None:
    cluster = SimulatedCluster()
    theirs = {"replicas": 1, "template": {"spec": {"containers": []}}}
    cluster.objects[kind, "conjnli"] = {"kind": kind, "metadata": {"name": "conjnli"}, "spec": theirs}
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), cluster.created) == ("NameConflict", [])
    stalled = cluster.condition(ConditionType.STALLED)
    assert stalled is not None
    assert stalled.message == (
        f"generate: the {kind} conjnli already exists and belongs to something else; delete it, or choose another"
        " metadata.name"
    )
    assert cluster.requeue_after() == timedelta(minutes=1)
    cluster.change(serving={"mode": "None"})
    cluster.settle()
    assert cluster.jobs() == [GENERATE_JOB]


def test_a_foreign_service_keeps_the_student_from_being_served() -> None:
    cluster = begun()
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    cluster.start()
    cluster.objects["Service", "conjnli"] = {"kind": "Service", "metadata": {"name": "conjnli"}, "spec": {}}
    cluster.finish()
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), described(cluster.decisions())) == ("NameConflict", [])
    cluster.change(serving={"mode": "None"})
    assert described(cluster.decisions()) == []
    cluster.settle()
    assert cluster.reason() == "Succeeded"


def test_a_foreign_claim_is_never_written_to() -> None:
    cluster = SimulatedCluster()
    claim = {"metadata": {"name": "conjnli-workspace-5f0c1a2b"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    cluster.objects["PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"] = claim
    assert described(cluster.decisions()) == []
    cluster.reconcile()
    assert cluster.reason(ConditionType.STALLED) == "NameConflict"


def test_a_job_left_by_an_earlier_resource_is_waited_for() -> None:
    cluster = SimulatedCluster()
    owner = {"kind": "Distillation", "name": "conjnli", "uid": "another"}
    labels = {"distillery.dev/name": "conjnli"}
    cluster.objects["Job", GENERATE_JOB] = {
        "kind": "Job",
        "metadata": {"name": GENERATE_JOB, "uid": "old", "labels": labels, "ownerReferences": [owner]},
        "spec": {"suspend": False},
    }
    cluster.reconcile()
    assert (cluster.reason(ConditionType.RECONCILING), described(cluster.decisions())) == ("Queued", [])


def test_what_the_server_refuses_is_not_started_and_its_message_is_reported() -> None:
    cluster = SimulatedCluster()
    cluster.refuses["create", "Pod"] = Invalid('Pod "x" is invalid: spec.nodeSelectr: unknown field')
    cluster.settle()
    assert (cluster.objects, cluster.status.stages) == ({}, ())
    stalled = cluster.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (stalled.reason, stalled.message) == (
        "InvalidSpec",
        "the API server refuses to create the Pod conjnli-generate-khmqypiu-check:"
        ' Pod "x" is invalid: spec.nodeSelectr: unknown field',
    )
    cluster.refuses.clear()
    cluster.settle()
    assert cluster.jobs() == [GENERATE_JOB]


def test_a_pod_that_does_not_start_is_reconciled_again_soon() -> None:
    cluster = begun()
    assert cluster.requeue_after() == timedelta(seconds=20)
    cluster.start()
    cluster.settle()
    assert cluster.requeue_after() is None


@pytest.mark.parametrize(("waited", "requeue"), [(60, 20), (80, 20), (400, 100), (1200, 300), (36_000, 300)])
def test_the_longer_a_pod_has_not_started_the_later_it_is_looked_at(waited: int, requeue: int) -> None:
    cluster = begun()
    cluster.wait(waited)
    assert cluster.requeue_after() == timedelta(seconds=requeue)


def test_a_pod_that_has_only_now_got_a_node_is_looked_at_soon() -> None:
    cluster = begun()
    cluster.wait(36_000)
    now = cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    cluster.pod()["status"]["conditions"] = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}]
    cluster.wait(4)
    assert cluster.requeue_after() == timedelta(seconds=20)


def test_a_job_that_has_only_now_left_its_queue_is_looked_at_soon() -> None:
    cluster = begun()
    cluster.wait(36_000)
    cluster.job()["status"] = {"startTime": cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    assert cluster.requeue_after() == timedelta(seconds=20)


def test_a_server_that_starts_is_looked_at_soon_however_long_a_stage_has_waited() -> None:
    cluster = served()
    cluster.change(training={"epochs": 4})
    cluster.settle()
    cluster.wait(2000)
    assert cluster.requeue_after() == timedelta(seconds=300)
    cluster.change(serving={"resources": {"limits": {"memory": "9Gi"}}})
    cluster.settle()
    cluster.wait(60)
    assert cluster.requeue_after() == timedelta(seconds=20)


def test_a_served_student_is_not_requeued() -> None:
    assert served().requeue_after() is None
