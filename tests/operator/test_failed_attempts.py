"""What follows from failed attempts: how often a stage is tried, for how long, and with how much in memory."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress, StageOutcome, StageResult
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Merge
from distillery_operator.core.smaller_batches import more_parts
from simulated_cluster import SimulatedCluster, written

STALLED = ConditionType.STALLED
GENERATE_JOB = "conjnli-generate-khmqypiu-1"


def generation(**fields: Any) -> dict[str, Any]:
    return {**SimulatedCluster().spec["generation"], **fields}


def at(stage: Stage, **changes: Any) -> SimulatedCluster:
    """A cluster whose `stage` runs."""
    cluster = SimulatedCluster(**changes)
    cluster.settle()
    cluster.run_stages(*stage.earlier)
    cluster.settle()
    cluster.start()
    cluster.settle()
    return cluster


def next_attempt(cluster: SimulatedCluster) -> None:
    """Until the next attempt runs, or the stage is stalled."""
    cluster.settle()
    if cluster.truth(STALLED) is None:
        cluster.wait(300)
        cluster.settle()
        cluster.start()
        cluster.settle()


def attempts_until_stalled(cluster: SimulatedCluster, stage: Stage, end: Any, most: int = 40) -> int:
    for number in range(most):
        end(number)
        next_attempt(cluster)
        if cluster.truth(STALLED):
            return cluster.record(stage).attempts
    return most


def given(cluster: SimulatedCluster, stage: Stage) -> str:
    """The configuration of the stage, as its ConfigMap has it."""
    planned = cluster.plan.stage(stage)
    return str(cluster.objects["ConfigMap", f"conjnli-{planned.folder}"]["data"]["run.json"])


# --- how often


@pytest.mark.parametrize("exit_code", [1, 134, 137, 139, 255])
def test_a_stage_that_crashes_five_times_in_a_row_is_stalled(exit_code: int) -> None:
    cluster = at(Stage.GENERATE)
    attempts = attempts_until_stalled(cluster, Stage.GENERATE, lambda _: cluster.fail(exit_code))
    assert (attempts, cluster.reason(STALLED)) == (5, "GenerationFailed")
    condition = cluster.condition(STALLED)
    assert condition is not None
    assert condition.message.endswith("; 5 attempts in a row failed and got no further")


def test_a_stage_that_crashes_after_three_hours_each_time_is_stalled_too() -> None:
    cluster = at(Stage.TRAIN)

    def crash(_: int) -> None:
        cluster.wait(3 * 3600)
        cluster.end(139)

    assert attempts_until_stalled(cluster, Stage.TRAIN, crash) == 5


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_spec_says_how_many_attempts_may_fail(limit: int) -> None:
    cluster = at(Stage.GENERATE, generation=generation(maxAttempts=limit))
    assert attempts_until_stalled(cluster, Stage.GENERATE, lambda _: cluster.fail(1)) == limit


def test_a_raised_limit_of_attempts_goes_on_trying() -> None:
    cluster = at(Stage.GENERATE, generation=generation(maxAttempts=1))
    cluster.fail(1)
    cluster.settle()
    assert cluster.truth(STALLED) == "True"
    cluster.change(generation=generation(maxAttempts=2))
    cluster.settle()
    assert (cluster.truth(STALLED), cluster.record(Stage.GENERATE).attempts) == (None, 2)


def test_attempts_that_get_further_each_time_are_not_counted_together() -> None:
    cluster = at(Stage.TRAIN)

    def crash(number: int) -> None:
        done = 100 * min(number + 1, 9)
        cluster.fail(1, Reason.TRAINING_FAILED, "no", progress=Progress(done=done, total=1000, unit="steps"))

    # Nine get further, and the last of these is the first of five that do not.
    assert attempts_until_stalled(cluster, Stage.TRAIN, crash) == 13
    assert cluster.record(Stage.TRAIN).furthest == Progress(done=900, total=1000, unit="steps")


def test_how_far_a_killed_attempt_got_is_what_the_operator_read_last() -> None:
    cluster = at(Stage.TRAIN)

    def killed(number: int) -> None:
        cluster.reconcile(progress=Progress(done=10 * min(number, 2), total=1000, unit="steps"))
        cluster.end(137, reason="Error")

    assert attempts_until_stalled(cluster, Stage.TRAIN, killed) == 7


@pytest.mark.parametrize(
    "end",
    [
        lambda cluster: cluster.fail(143, Reason.TERMINATED, "stopped"),
        lambda cluster: cluster.end(143),
        lambda cluster: cluster.evict(),
        lambda cluster: cluster.end(255, reason="Unknown"),
        lambda cluster: cluster.end(137, reason="ContainerStatusUnknown"),
    ],
    ids=["asked to stop", "stopped without a word", "evicted", "node restarted", "container lost"],
)
def test_attempts_that_were_stopped_from_outside_do_not_count(end: Any) -> None:
    cluster = at(Stage.TRAIN, training={"maxAttempts": 1})
    assert attempts_until_stalled(cluster, Stage.TRAIN, lambda _: end(cluster), most=20) == 20
    assert cluster.record(Stage.TRAIN).failures is None
    cluster.fail(1)
    cluster.settle()
    assert cluster.reason(STALLED) == "TrainingFailed"


def test_short_attempts_that_find_the_teacher_unreachable_end_by_time_alone() -> None:
    cluster = at(Stage.GENERATE)
    assert attempts_until_stalled(cluster, Stage.GENERATE, lambda _: cluster.fail(3, Reason.TEACHER_UNREACHABLE)) > 10


def test_long_attempts_that_find_the_teacher_unreachable_end_by_their_number() -> None:
    cluster = at(Stage.GENERATE)

    def unreachable(_: int) -> None:
        cluster.wait(7200)
        cluster.fail(3, Reason.TEACHER_UNREACHABLE)

    assert attempts_until_stalled(cluster, Stage.GENERATE, unreachable) == 5


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("seconds", [60, 3605, 7200])
def test_a_teacher_that_is_away_for_a_while_uses_up_no_attempt(limit: int, seconds: int) -> None:
    cluster = at(Stage.GENERATE, generation=generation(maxAttempts=limit))
    for _ in range(3):
        cluster.wait(seconds)
        cluster.fail(3, Reason.TEACHER_UNREACHABLE)
        next_attempt(cluster)
    assert (cluster.truth(STALLED), cluster.record(Stage.GENERATE).attempts) == (None, 4)


@pytest.mark.parametrize("in_use", [True, False])
def test_hours_in_which_nothing_failed_do_not_count_as_failures_in_a_row(in_use: bool) -> None:
    cluster = at(Stage.GENERATE)
    cluster.fail(3, Reason.TEACHER_UNREACHABLE)
    next_attempt(cluster)
    for _ in range(3):
        cluster.wait(2500)
        cluster.fail(3, Reason.WORKSPACE_IN_USE) if in_use else cluster.evict()
        next_attempt(cluster)
    cluster.wait(60)
    cluster.fail(3, Reason.TEACHER_UNREACHABLE)
    next_attempt(cluster)
    assert (cluster.truth(STALLED), cluster.record(Stage.GENERATE).attempts) == (None, 6)


# --- for how long


def test_the_deadline_of_an_attempt_counts_from_the_start_of_its_container() -> None:
    cluster = SimulatedCluster(generation=generation(timeout="1h30m"))
    cluster.settle()
    cluster.wait(7000)  # no node has room
    cluster.settle()
    assert "activeDeadlineSeconds" not in cluster.job()["spec"]
    cluster.start()
    assert Merge("Job", GENERATE_JOB, {"spec": {"activeDeadlineSeconds": 12_400}}) in cluster.decisions()
    cluster.settle()
    assert cluster.decisions() == ()


def test_a_changed_timeout_moves_the_deadline_of_a_running_attempt() -> None:
    cluster = at(Stage.GENERATE, generation=generation(timeout="1h"))
    cluster.change(generation=generation(timeout="2h"))
    cluster.settle()
    assert cluster.job()["spec"]["activeDeadlineSeconds"] == 7200
    cluster.change(generation=generation())
    cluster.settle()
    assert "activeDeadlineSeconds" not in cluster.job()["spec"]


def test_a_pod_that_replaces_an_evicted_one_does_not_run_out_of_time_while_it_waits_for_a_node() -> None:
    cluster = at(Stage.GENERATE, generation=generation(timeout="1h"))
    cluster.settle()
    assert cluster.job()["spec"]["activeDeadlineSeconds"] == 3600
    cluster.find_no_room()
    cluster.settle()
    assert "activeDeadlineSeconds" not in cluster.job()["spec"]
    cluster.wait(7000)
    cluster.start()
    cluster.settle()
    assert cluster.job()["spec"]["activeDeadlineSeconds"] == 10_600


def test_verify_has_the_limits_of_the_evaluation() -> None:
    cluster = SimulatedCluster(evaluation={"timeout": "10m"})
    cluster.settle()
    cluster.run_stages(*Stage.VERIFY.earlier)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    cluster.start()
    cluster.settle()
    assert cluster.job()["spec"]["activeDeadlineSeconds"] == 600


def test_an_attempt_that_takes_too_long_is_stalled_until_somebody_gives_it_more_time() -> None:
    cluster = at(Stage.TRAIN, training={"timeout": "1h"})
    cluster.wait(3600)
    cluster.exceed_deadline()
    cluster.settle()
    assert (cluster.reason(STALLED), cluster.record(Stage.TRAIN).attempts) == ("DeadlineExceeded", 1)
    cluster.wait(86_400)
    cluster.settle()
    assert cluster.record(Stage.TRAIN).attempts == 1
    cluster.change(training={"timeout": "3h"})
    cluster.settle()
    assert cluster.record(Stage.TRAIN).attempts == 2


# --- with how much in memory


@pytest.mark.parametrize(
    ("rows", "parts"),
    [(1, []), (2, [2]), (8, [2, 4, 8]), (6, [2, 6]), (7, [7]), (12, [2, 4, 12]), (4096, [2**n for n in range(1, 13)])],
)
def test_a_batch_is_divided_into_equal_parts_until_each_is_one_row(rows: int, parts: list[int]) -> None:
    record, found = at(Stage.GENERATE).record(Stage.GENERATE), []
    while next_parts := more_parts(rows, record):
        found.append(next_parts)
        record = record.model_copy(update={"micro_batches": next_parts})
    assert found == parts


def test_a_training_that_has_tried_smaller_parts_itself_is_given_smaller_ones_still() -> None:
    record = at(Stage.TRAIN).record(Stage.TRAIN)
    tried = StageResult(stage=Stage.TRAIN, folder="train-a", state=StageOutcome.FAILED, micro_batches=8)
    assert more_parts(16, record, tried) == 16
    assert more_parts(8, record, tried) is None


@pytest.mark.parametrize(
    "end",
    [
        lambda cluster: cluster.fail(2, Reason.OUT_OF_MEMORY, "The training ran out of memory."),
        lambda cluster: cluster.end(137, reason="OOMKilled"),
    ],
    ids=["of the device", "of the container"],
)
def test_a_training_that_runs_out_of_memory_goes_on_with_half_of_the_batch_at_a_time(end: Any) -> None:
    cluster = at(Stage.TRAIN, training={"batchSize": 8})
    folder = cluster.plan.stage(Stage.TRAIN).folder
    assert '"microBatches": 1' in given(cluster, Stage.TRAIN)
    end(cluster)
    cluster.settle()
    record = cluster.record(Stage.TRAIN)
    assert record.micro_batches == 2
    assert (record.message or "").endswith(
        "; the next attempt has 4 of 8 rows in memory at a time, and the same result"
    )
    assert cluster.reason() == "ProgressingWithRetry"
    next_attempt(cluster)
    assert '"microBatches": 2' in given(cluster, Stage.TRAIN)
    assert '"batchSize": 8' in given(cluster, Stage.TRAIN)
    cluster.finish()
    cluster.settle()
    assert cluster.record(Stage.TRAIN).micro_batches == 2
    assert cluster.plan.stage(Stage.TRAIN).folder == folder
    assert cluster.record(Stage.EVALUATE).micro_batches is None


@pytest.mark.parametrize(("rows", "attempts"), [(8, 5), (1, 2)])
def test_a_training_that_runs_out_of_memory_with_one_row_is_stalled(rows: int, attempts: int) -> None:
    cluster = at(Stage.TRAIN, training={"batchSize": rows})
    end = lambda _: cluster.end(137, reason="OOMKilled")  # noqa: E731
    assert attempts_until_stalled(cluster, Stage.TRAIN, end) == attempts
    assert cluster.reason(STALLED) == "ContainerOOMKilled"


def test_a_device_that_is_too_small_for_one_row_stalls_at_once() -> None:
    cluster = at(Stage.TRAIN)
    cluster.fail(2, Reason.OUT_OF_MEMORY, "The training ran out of memory.")
    cluster.settle()
    assert (cluster.reason(STALLED), cluster.record(Stage.TRAIN).attempts) == ("OutOfMemory", 1)


def test_more_memory_in_the_spec_makes_the_batch_whole_again() -> None:
    cluster = at(Stage.TRAIN, training={"batchSize": 2})
    for _ in range(3):
        cluster.end(137, reason="OOMKilled")
        next_attempt(cluster)
    assert (cluster.truth(STALLED), cluster.record(Stage.TRAIN).micro_batches) == ("True", 2)
    cluster.change(training={"batchSize": 2, "resources": {"limits": {"memory": "64Gi"}}})
    cluster.settle()
    assert cluster.record(Stage.TRAIN).micro_batches is None
    assert '"microBatches": 1' in given(cluster, Stage.TRAIN)


def test_an_evaluation_that_is_killed_for_its_memory_answers_fewer_rows_at_a_time() -> None:
    cluster = at(Stage.EVALUATE)
    cluster.end(137, reason="OOMKilled")
    next_attempt(cluster)
    assert cluster.record(Stage.EVALUATE).micro_batches == 2
    assert '"microBatches": 2' in given(cluster, Stage.EVALUATE)


def test_no_batch_fills_the_memory_of_generate() -> None:
    cluster = at(Stage.GENERATE)
    end = lambda _: cluster.end(137, reason="OOMKilled")  # noqa: E731
    assert attempts_until_stalled(cluster, Stage.GENERATE, end) == 5
    assert cluster.record(Stage.GENERATE).micro_batches is None


# --- when something outside the spec has changed


def set_capacity(cluster: SimulatedCluster, size: str) -> None:
    claim = cluster.objects["PersistentVolumeClaim", cluster.plan.claim_name]
    claim["status"] = {"phase": "Bound", "capacity": {"storage": size}}


def test_a_stage_that_found_its_volume_full_goes_on_once_it_is_larger() -> None:
    cluster = at(Stage.GENERATE)
    set_capacity(cluster, "50Gi")
    cluster.fail(2, Reason.STORAGE_FULL, "no space is left")
    cluster.settle()
    assert (cluster.reason(STALLED), cluster.record(Stage.GENERATE).full_capacity) == ("StorageFull", "50Gi")
    requeue = cluster.requeue_after()
    assert requeue is not None
    assert requeue.total_seconds() <= 60
    set_capacity(cluster, "51200Mi")  # written otherwise
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 1
    set_capacity(cluster, "60Gi")
    cluster.settle()
    assert (cluster.truth(STALLED), cluster.record(Stage.GENERATE).attempts) == (None, 2)
    cluster.start()
    cluster.fail(2, Reason.STORAGE_FULL, "no space is left")
    cluster.settle()
    assert (cluster.reason(STALLED), cluster.record(Stage.GENERATE).full_capacity) == ("StorageFull", "60Gi")


def test_another_failure_is_not_retried_for_a_larger_volume() -> None:
    cluster = at(Stage.GENERATE)
    set_capacity(cluster, "50Gi")
    cluster.fail(2, Reason.TEACHER_REJECTED)
    cluster.settle()
    set_capacity(cluster, "60Gi")
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 1


def test_a_lost_node_is_stalled_after_ten_minutes_and_forgotten_when_it_comes_back() -> None:
    cluster = at(Stage.TRAIN)
    cluster.pod()["metadata"]["deletionTimestamp"] = written(cluster.now)
    cluster.pod()["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "message": "NoExecute"}]
    cluster.settle()
    assert (cluster.reason(), cluster.requeue_after()) == ("PodEvicted", timedelta(minutes=1))
    cluster.wait(61)
    cluster.settle()
    assert (cluster.truth(STALLED), cluster.reason()) == (None, "NodeLost")
    cluster.wait(600)
    cluster.settle()
    assert cluster.reason(STALLED) == "NodeLost"
    cluster.end(143)
    cluster.settle()
    assert cluster.reason() == "ProgressingWithRetry"
    assert cluster.record(Stage.TRAIN).failures is None


def test_a_new_run_waits_for_a_pod_on_a_lost_node_and_says_what_to_do() -> None:
    cluster = at(Stage.TRAIN)
    name, lost = next((name, pod) for name, pod in cluster.pods.items() if "train" in name)
    lost["metadata"]["deletionTimestamp"] = written(cluster.now)
    cluster.change(training={"learningRate": 0.001})
    cluster.reconcile()
    cluster.collect()
    cluster.pods[name] = lost  # its Job is gone, and nobody knows what it does
    cluster.wait(61)
    cluster.settle()
    assert (cluster.truth(STALLED), cluster.reason()) == (None, "NodeLost")
    cluster.wait(600)
    cluster.settle()
    condition = cluster.condition(STALLED)
    assert condition is not None
    assert "kubectl delete node node-1" in condition.message
    del cluster.pods[name]
    cluster.settle()
    assert (cluster.truth(STALLED), len(cluster.live_jobs())) == (None, 1)


def test_a_claim_without_a_volume_is_looked_at_again_for_its_events() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.find_no_room("pod has unbound immediate PersistentVolumeClaims")
    cluster.objects["PersistentVolumeClaim", cluster.plan.claim_name]["status"] = {"phase": "Pending"}
    cluster.settle()
    assert cluster.reason() == "Unschedulable"
    assert cluster.requeue_after() == timedelta(seconds=20)
    name = cluster.plan.claim_name
    missing = 'storageclass.storage.k8s.io "fast" not found'
    cluster.events.append({"involvedObject": {"name": name}, "reason": "ProvisioningFailed", "message": missing})
    cluster.wait(20)
    cluster.settle()
    assert cluster.reason(ConditionType.RECONCILING) == "ConfigurationMissing"
    cluster.wait(600)
    cluster.settle()
    assert cluster.reason(STALLED) == "ConfigurationMissing"
