"""A clock that jumps, forwards or back, at any moment of a run: the run ends as ever, or goes on once time is right."""

import pytest

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from simulated_cluster import SimulatedCluster

DAY = 86_400
STAGES = (Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
STEPS = range(2 * len(STAGES))
"""The moments of a run: before and after each of its stages begins."""


def live(cluster: SimulatedCluster, jumps_at: int, seconds: float) -> None:
    for number, stage in enumerate(STAGES):
        _pass(cluster, 2 * number == jumps_at, seconds)
        if stage is Stage.VERIFY:
            cluster.serve()
            cluster.settle()
        cluster.start()
        _pass(cluster, 2 * number + 1 == jumps_at, seconds)
        cluster.finish()
    cluster.settle()


def _pass(cluster: SimulatedCluster, jumps: bool, seconds: float) -> None:
    cluster.settle()
    if jumps:
        cluster.wait(seconds)
        cluster.settle()


@pytest.mark.parametrize("seconds", [DAY, -DAY, 400 * DAY, -400 * DAY, 5, -5])
@pytest.mark.parametrize("step", STEPS)
def test_run_ends_as_ever(step: int, seconds: float):
    cluster = SimulatedCluster()
    live(cluster, step, seconds)
    assert cluster.truth(ConditionType.READY) == "True"
    assert [record.attempts for record in cluster.status.stages] == [1, 1, 1, 1]


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_failed_attempt_is_tried_again_whatever_the_clock_says(seconds: float):
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.start()
    cluster.fail(1)
    cluster.settle()
    cluster.wait(seconds)
    cluster.settle()
    requeue = cluster.requeue_after()
    for _ in range(3):
        cluster.wait(requeue.total_seconds() if requeue else 0)
        cluster.settle()
        requeue = cluster.requeue_after()
    cluster.wait(2 * DAY)
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 2


def test_a_retry_that_is_due_in_seconds_does_not_wait_a_day_because_the_clock_was_set_back():
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.start()
    cluster.fail(1)
    cluster.settle()
    cluster.wait(-DAY)
    cluster.settle()
    requeue = cluster.requeue_after()
    assert requeue is not None
    assert requeue.total_seconds() == 300
    cluster.wait(300)
    cluster.settle()
    assert cluster.record(Stage.GENERATE).attempts == 2


def test_an_image_that_cannot_be_pulled_is_stalled_in_time_although_the_clock_was_set_back():
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.wait_for("ErrImagePull", "no such image")
    cluster.settle()
    cluster.wait(-DAY)
    cluster.settle()
    assert cluster.reason(ConditionType.STALLED) is None
    cluster.wait(600)
    cluster.settle()
    assert cluster.reason(ConditionType.STALLED) == "ImagePullError"
