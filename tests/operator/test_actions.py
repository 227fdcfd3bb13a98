from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType, DistillationStatus
from distillery_operator.core.actions import Action, Apply, Check, Create, Delete, Suspend
from distillery_operator.core.retry_policy import RetrySettings
from distillery_operator.core.situation import names_to_read
from world import World, written

GENERATE_JOB = "conjnli-generate-khmqypiu-1"
TRAIN_JOB = "conjnli-train-nxevyml5-1"


def described(actions: tuple[Action, ...]) -> list[str]:
    """Actions in short."""
    return [description(action) for action in actions]


def description(action: Action) -> str:
    match action:
        case Check(manifest) | Create(manifest) | Apply(manifest):
            return f"{type(action).__name__} {manifest['kind']} {manifest['metadata']['name']}"
        case Delete(kind, name):
            return f"Delete {kind} {name}"
        case Suspend(job, suspended):
            return f"{'Suspend' if suspended else 'Resume'} {job}"


def begun(**changes: Any) -> World:
    """A world whose first stage has a Pod that does not run yet."""
    world = World(**changes)
    world.settle()
    return world


def served() -> World:
    """A world whose student is served."""
    world = begun()
    world.run_stages(*Stage)
    world.serve()
    world.settle()
    return world


def test_every_pod_to_come_is_checked_before_the_first_write() -> None:
    assert described(World().decisions()) == [
        "Check Pod conjnli-generate-khmqypiu-check",
        "Check Pod conjnli-train-nxevyml5-check",
        "Check Pod conjnli-evaluate-cjwr55cz-check",
        "Check Pod conjnli-check",
        "Create PersistentVolumeClaim conjnli-workspace-5f0c1a2b",
        "Apply ConfigMap conjnli-generate-khmqypiu",
        f"Create Job {GENERATE_JOB}",
    ]


def test_a_given_claim_is_not_created() -> None:
    world = World(storage={"claimName": "mine"})
    assert described(world.decisions()) == []
    world.settle()
    assert world.reason() == "ConfigurationMissing"
    world.objects["PersistentVolumeClaim", "mine"] = {"metadata": {"name": "mine"}, "spec": {"accessModes": []}}
    assert described(world.decisions())[-2:] == [
        "Apply ConfigMap conjnli-generate-khmqypiu",
        f"Create Job {GENERATE_JOB}",
    ]


def test_with_serving_off_no_server_is_checked() -> None:
    assert "Check Pod conjnli-check" not in described(World(serving={"mode": "None"}).decisions())


def test_the_next_stage_starts_in_the_pass_that_sees_the_last_one_done() -> None:
    world = begun()
    world.start()
    world.finish()
    assert f"Create Job {TRAIN_JOB}" in described(world.decisions())


def test_the_status_names_the_job_before_it_is_created() -> None:
    world = World()
    world.reconcile(dies_after=1)
    assert (world.record(Stage.GENERATE).job, world.jobs()) == (GENERATE_JOB, [])
    assert world.status.workspace_claim == "conjnli-workspace-5f0c1a2b"


def test_an_operator_that_died_before_creating_a_job_creates_that_one() -> None:
    world = World()
    world.reconcile(dies_after=1)
    world.wait(100)
    assert described(world.decisions())[-1] == f"Create Job {GENERATE_JOB}"
    world.settle()
    assert world.record(Stage.GENERATE).attempts == 1
    assert world.record(Stage.GENERATE).start_time == world.now - timedelta(seconds=100)


def test_a_finished_stage_does_not_run_again_when_its_job_was_deleted() -> None:
    world = served()
    for name in world.jobs():
        del world.objects["Job", name]
    assert described(world.decisions()) == []


def test_a_lost_status_is_found_again_in_the_jobs() -> None:
    world = begun()
    world.start()
    world.status = DistillationStatus()
    world.settle()
    assert world.jobs() == [GENERATE_JOB]
    assert (world.record(Stage.GENERATE).job, world.record(Stage.GENERATE).attempts) == (GENERATE_JOB, 1)


def test_exit_code_2_stalls_at_once_and_is_not_retried() -> None:
    world = begun()
    world.start()
    world.fail(2, Reason.TEACHER_REJECTED, "HTTP 401: wrong key")
    world.settle()
    assert (world.reason(ConditionType.STALLED), described(world.decisions())) == ("TeacherRejected", [])
    assert world.requeue_after() is None


@pytest.mark.parametrize("exit_code", [1, 3, 137, 143])
def test_other_failures_are_retried_after_a_back_off(exit_code: int) -> None:
    world = begun()
    world.start()
    world.fail(exit_code)
    world.settle()
    assert described(world.decisions()) == []
    assert world.requeue_after() == timedelta(seconds=10)
    world.wait(10)
    assert described(world.decisions()) == [
        "Apply ConfigMap conjnli-generate-khmqypiu",
        "Create Job conjnli-generate-khmqypiu-2",
    ]


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    retry = RetrySettings()
    assert [retry.delay(attempts).total_seconds() for attempts in (1, 2, 3, 5, 6, 9_999)] == [10, 20, 40, 160, 300, 300]


def test_attempts_end_at_the_deadline_with_the_root_cause() -> None:
    world = begun()
    while world.truth(ConditionType.STALLED) is None:
        world.start()
        world.fail(3, Reason.TEACHER_UNREACHABLE, "no answer")
        world.settle()
        world.wait((world.requeue_after() or timedelta()).total_seconds())
        world.settle()
    assert world.reason(ConditionType.STALLED) == "TeacherUnreachable"
    assert world.record(Stage.GENERATE).attempts == 16
    assert described(world.decisions()) == []


def test_a_long_attempt_restarts_the_retry_deadline_unless_it_ran_out_of_memory() -> None:
    for reason, stalled in (("Error", None), ("OOMKilled", "ContainerOOMKilled")):
        world = begun()
        for _ in range(2):
            world.start()
            world.wait(5000)
            world.end(137, reason=reason)
            world.settle()
            world.wait(60)
            world.settle()
        assert world.reason(ConditionType.STALLED) == stalled


def test_only_the_last_attempts_keep_their_jobs() -> None:
    world = begun()
    for _ in range(5):
        world.start()
        world.fail(1)
        world.settle()
        world.wait(300)
        world.settle()
    assert world.jobs() == [f"conjnli-generate-khmqypiu-{attempt}" for attempt in (4, 5, 6)]


def test_a_retry_annotation_runs_a_stalled_stage_again_once() -> None:
    world = begun()
    world.start()
    world.fail(2)
    world.settle()
    world.request_retry()
    assert described(world.decisions())[-1] == "Create Job conjnli-generate-khmqypiu-2"
    world.settle()
    assert world.status.last_handled_retry_at == "2026-11-25T12:00:00Z"
    world.start()
    world.fail(2)
    world.settle()
    assert (described(world.decisions()), world.record(Stage.GENERATE).attempts) == ([], 2)


def test_a_retry_annotation_ends_a_back_off_and_does_nothing_to_a_running_stage() -> None:
    world = begun()
    world.start()
    world.request_retry()
    world.settle()
    assert world.jobs() == [GENERATE_JOB]
    world.fail(3)
    world.settle()
    world.wait(1)
    world.request_retry()
    assert described(world.decisions())[-1] == "Create Job conjnli-generate-khmqypiu-2"


def test_a_retry_requested_while_suspended_is_not_forgotten() -> None:
    world = begun()
    world.start()
    world.fail(2)
    world.settle()
    world.change(suspend=True)
    world.request_retry()
    world.settle()
    world.change(suspend=False)
    world.settle()
    assert world.record(Stage.GENERATE).job == "conjnli-generate-khmqypiu-2"


def test_a_raised_budget_runs_a_stalled_stage_again() -> None:
    world = begun()
    world.start()
    world.fail(2, Reason.BUDGET_EXCEEDED)
    world.settle()
    world.change(generation={**world.spec["generation"], "budget": {"maxTokens": 10_000_000}})
    assert described(world.decisions())[:1] == ["Check Pod conjnli-generate-khmqypiu-check"]
    world.settle()
    assert world.record(Stage.GENERATE).job == "conjnli-generate-khmqypiu-2"


def test_a_change_that_has_nothing_to_do_with_it_leaves_a_stalled_stage_alone() -> None:
    world = begun()
    world.start()
    world.fail(2, Reason.BUDGET_EXCEEDED)
    world.settle()
    world.change(serving={"replicas": 0})
    assert described(world.decisions()) == []


def test_an_image_that_cannot_be_pulled_stalls_after_ten_minutes_and_recovers_by_itself() -> None:
    world = begun()
    world.wait_for("ErrImagePull", "not found")
    world.settle()
    assert (world.reason(ConditionType.RECONCILING), world.requeue_after()) == ("ImagePullError", timedelta(minutes=10))
    world.wait(599)
    world.settle()
    assert world.truth(ConditionType.STALLED) is None
    world.wait(1)
    world.settle()
    assert (world.reason(ConditionType.STALLED), world.truth(ConditionType.RECONCILING)) == ("ImagePullError", None)
    world.start()
    world.settle()
    assert (world.reason(ConditionType.RECONCILING), world.truth(ConditionType.STALLED)) == ("GeneratingData", None)


def test_a_job_that_cannot_start_is_replaced_after_a_corrected_spec() -> None:
    world = begun(generation={**World().spec["generation"], "image": "trianer:1"})
    world.wait_for("ErrImagePull", "not found")
    world.settle()
    world.change(generation={**world.spec["generation"], "image": "trainer:1"})
    assert described(world.decisions()) == [f"Delete Job {GENERATE_JOB}"]
    world.settle()
    assert world.job()["spec"]["template"]["spec"]["containers"][0]["image"] == "trainer:1"
    assert (world.jobs(), world.record(Stage.GENERATE).attempts) == ([GENERATE_JOB], 1)


def test_a_running_job_is_left_alone_by_a_change_that_keeps_its_identity() -> None:
    world = begun()
    world.start()
    world.change(generation={**world.spec["generation"], "image": "trainer:2", "concurrency": 7})
    assert described(world.decisions()) == []


def test_a_retry_annotation_replaces_a_blocked_job_even_if_the_operator_dies_meanwhile() -> None:
    world = begun()
    world.wait_for("ErrImagePull", "not found")
    world.settle()
    world.wait(1)
    world.request_retry()
    assert described(world.decisions()) == [f"Delete Job {GENERATE_JOB}"]
    world.reconcile(dies_after=1)
    assert described(world.decisions()) == [f"Delete Job {GENERATE_JOB}"]
    world.settle()
    assert described(world.decisions()) == []


def test_new_inputs_stop_the_old_run_before_the_new_one_begins() -> None:
    world = begun()
    world.start()
    world.change(data={**world.spec["data"], "version": "2"})
    first = described(world.decisions())
    assert first == [f"Delete Job {GENERATE_JOB}", "Delete ConfigMap conjnli-generate-khmqypiu"]
    world.reconcile()
    assert described(world.decisions()) == []
    assert world.condition(ConditionType.RECONCILING).message == (  # type: ignore[union-attr]
        f"generate: waiting for the Job {GENERATE_JOB} to stop"
    )
    world.collect()
    world.settle()
    assert len(world.jobs()) == 1
    assert world.jobs() != [GENERATE_JOB]


def test_the_next_job_waits_for_an_orphaned_pod() -> None:
    world = begun()
    world.start()
    del world.objects["Job", GENERATE_JOB]
    world.reconcile()
    assert described(world.decisions()) == []
    (pod,) = world.pods
    assert world.condition(ConditionType.READY).message == (  # type: ignore[union-attr]
        f"generate: waiting for the Pod {pod} to stop"
    )


def test_a_new_learning_rate_keeps_the_rows() -> None:
    world = served()
    world.change(training={"learningRate": 0.001})
    world.settle()
    assert [record.name for record in world.status.stages] == [Stage.GENERATE, Stage.TRAIN]
    assert GENERATE_JOB in world.jobs()
    assert TRAIN_JOB not in world.jobs()


def test_suspending_stops_the_job_and_resuming_continues_it() -> None:
    world = begun()
    world.start()
    world.change(suspend=True)
    assert described(world.decisions()) == [f"Suspend {GENERATE_JOB}"]
    world.settle()
    assert (world.pods, described(world.decisions())) == ({}, [])
    world.change(suspend=False)
    assert described(world.decisions()) == [f"Resume {GENERATE_JOB}"]
    world.settle()
    assert world.record(Stage.GENERATE).attempts == 1


def test_a_suspended_job_with_an_outdated_template_is_replaced_when_it_is_resumed() -> None:
    world = begun()
    world.change(suspend=True)
    world.settle()
    world.change(suspend=False, generation={**world.spec["generation"], "concurrency": 7})
    assert described(world.decisions()) == [f"Delete Job {GENERATE_JOB}"]


def test_suspended_from_the_start_nothing_is_created() -> None:
    world = World(suspend=True)
    world.settle()
    assert (world.objects, world.reason(), world.requeue_after()) == ({}, "Suspended", None)


def test_a_finished_evaluation_rolls_the_student_out() -> None:
    world = begun()
    for _ in Stage:
        world.start()
        world.finish()
        decisions = described(world.decisions())
        world.settle()
    assert decisions == ["Check Pod conjnli-check", "Create Deployment conjnli", "Create Service conjnli"]


def test_replicas_change_the_deployment_and_nothing_else() -> None:
    world = served()
    world.change(serving={"runtime": "Transformers", "replicas": 0})
    assert described(world.decisions()) == ["Check Pod conjnli-check", "Apply Deployment conjnli"]


def test_during_a_new_run_the_old_student_follows_the_spec() -> None:
    world = served()
    world.change(training={"seed": 7}, serving={"runtime": "Transformers", "replicas": 0})
    world.settle()
    deployment = world.objects["Deployment", "conjnli"]
    assert deployment["spec"]["replicas"] == 0
    assert deployment["metadata"]["annotations"]["distillery.dev/model-path"] == "train-nxevyml5/model"


def test_the_new_student_takes_over_when_its_evaluation_is_done() -> None:
    world = served()
    world.change(training={"seed": 7})
    world.run_stages(Stage.TRAIN, Stage.EVALUATE)
    path = world.objects["Deployment", "conjnli"]["metadata"]["annotations"]["distillery.dev/model-path"]
    assert path == world.plan.model_path != "train-nxevyml5/model"


def test_serving_off_deletes_the_server_and_on_creates_it_again() -> None:
    world = served()
    world.change(serving={"mode": "None"})
    assert described(world.decisions()) == ["Delete Deployment conjnli", "Delete Service conjnli"]
    world.settle()
    assert world.reason() == "Succeeded"
    world.change(serving={"mode": "Deployment"})
    assert described(world.decisions())[-2:] == ["Create Deployment conjnli", "Create Service conjnli"]


def test_drift_in_the_deployment_is_repaired() -> None:
    world = served()
    container = world.objects["Deployment", "conjnli"]["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "theirs:1"
    assert described(world.decisions())[-1] == "Apply Deployment conjnli"
    world.settle()
    del world.objects["Service", "conjnli"]
    assert described(world.decisions()) == ["Create Service conjnli"]


def test_what_the_server_adds_to_the_deployment_is_no_drift() -> None:
    world = served()
    deployment = world.objects["Deployment", "conjnli"]
    deployment["spec"]["template"]["spec"]["schedulerName"] = "default-scheduler"
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "0.25"
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    assert described(world.decisions()) == []


def test_suspended_the_student_that_is_served_stays() -> None:
    world = served()
    world.change(suspend=True, training={"seed": 7})
    world.settle()
    assert described(world.decisions()) == []
    assert world.truth(ConditionType.AVAILABLE) == "True"


def test_retention_sets_and_removes_the_owner_of_the_claim() -> None:
    world = served()
    world.change(storage={"retention": "Delete"})
    assert described(world.decisions()) == ["Apply PersistentVolumeClaim conjnli-workspace-5f0c1a2b"]
    world.settle()
    assert world.objects["PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"]["metadata"]["ownerReferences"]
    world.change(storage={})
    assert described(world.decisions()) == ["Apply PersistentVolumeClaim conjnli-workspace-5f0c1a2b"]


def test_a_deleted_workspace_is_not_paid_for_again() -> None:
    world = begun()
    world.start()
    world.finish()
    del world.objects["PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"]
    world.settle()
    assert (world.reason(ConditionType.STALLED), described(world.decisions())) == ("WorkspaceLost", [])


def test_a_claim_that_is_being_deleted_is_waited_for() -> None:
    world = World()
    claim = {"metadata": {"name": "w", "deletionTimestamp": written(world.now)}, "spec": {}}
    world.objects["PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"] = claim
    assert described(world.decisions()) == []
    world.reconcile()
    assert world.reason(ConditionType.RECONCILING) == "VolumeUnavailable"


def test_a_foreign_job_is_never_adopted_nor_deleted() -> None:
    world = World()
    world.objects["Job", GENERATE_JOB] = {
        "kind": "Job",
        "metadata": {"name": GENERATE_JOB, "uid": "theirs"},
        "spec": {"suspend": True},
    }
    world.settle()
    assert (world.reason(ConditionType.STALLED), described(world.decisions())) == ("NameConflict", [])
    assert names_to_read(world.plan, world.status) == (
        ("Job", GENERATE_JOB),
        ("Deployment", "conjnli"),
        ("Service", "conjnli"),
    )
    assert world.requeue_after() == timedelta(minutes=1)


def test_a_foreign_service_keeps_the_student_from_being_served() -> None:
    world = begun()
    world.objects["Service", "conjnli"] = {"kind": "Service", "metadata": {"name": "conjnli"}, "spec": {}}
    world.run_stages(*Stage)
    assert (world.reason(ConditionType.STALLED), described(world.decisions())) == ("NameConflict", [])
    world.change(serving={"mode": "None"})
    assert described(world.decisions()) == []
    world.settle()
    assert world.reason() == "Succeeded"


def test_a_foreign_claim_is_never_written_to() -> None:
    world = World()
    claim = {"metadata": {"name": "conjnli-workspace-5f0c1a2b"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    world.objects["PersistentVolumeClaim", "conjnli-workspace-5f0c1a2b"] = claim
    assert described(world.decisions()) == []
    world.reconcile()
    assert world.reason(ConditionType.STALLED) == "NameConflict"


def test_a_job_left_by_an_earlier_resource_is_waited_for() -> None:
    world = World()
    owner = {"kind": "Distillation", "name": "conjnli", "uid": "another"}
    labels = {"distillery.dev/name": "conjnli"}
    world.objects["Job", GENERATE_JOB] = {
        "kind": "Job",
        "metadata": {"name": GENERATE_JOB, "uid": "old", "labels": labels, "ownerReferences": [owner]},
        "spec": {"suspend": False},
    }
    world.reconcile()
    assert (world.reason(ConditionType.RECONCILING), described(world.decisions())) == ("Queued", [])


def test_what_the_server_refuses_is_not_started_and_its_message_is_reported() -> None:
    world = World()
    world.refusal = 'Pod "x" is invalid: spec.nodeSelectr: unknown field'
    world.settle()
    assert (world.objects, world.status.stages) == ({}, ())
    stalled = world.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (stalled.reason, stalled.message) == ("InvalidSpec", 'Pod "x" is invalid: spec.nodeSelectr: unknown field')
    world.refusal = None
    world.settle()
    assert world.jobs() == [GENERATE_JOB]


def test_a_pod_that_does_not_start_is_reconciled_again_soon() -> None:
    world = begun()
    assert world.requeue_after() == timedelta(seconds=20)
    world.start()
    world.settle()
    assert world.requeue_after() is None


def test_a_served_student_is_not_requeued() -> None:
    assert served().requeue_after() is None
