"""What becomes of the Jobs of attempts that have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_operator.core.actions import Delete, Merge
from simulated_cluster import SimulatedCluster

GENERATE_JOB = "conjnli-generate-khmqypiu-1"
TRAIN_JOB = "conjnli-train-nxevyml5-1"
DAY = {"spec": {"ttlSecondsAfterFinished": 86_400}}
MESH = {"spec": {"containers": [{"name": "mesh", "image": "mesh:1"}]}}


def running(**changes: Any) -> SimulatedCluster:
    """A cluster whose first stage runs."""
    cluster = SimulatedCluster(**changes)
    cluster.settle()
    cluster.start()
    return cluster


def with_sidecar() -> SimulatedCluster:
    """A cluster whose first stage runs beside a sidecar that never ends."""
    return running(generation={**SimulatedCluster().spec["generation"], "podTemplate": MESH})


def lifetime(cluster: SimulatedCluster, job: str) -> int | None:
    return cluster.job(job)["spec"].get("ttlSecondsAfterFinished")


def test_a_done_job_goes_a_day_after_its_result_was_recorded() -> None:
    cluster = running()
    cluster.finish()
    cluster.reconcile(dies_after=1)
    assert cluster.record(Stage.GENERATE).completion_time is not None
    assert lifetime(cluster, GENERATE_JOB) is None
    cluster.settle()
    assert lifetime(cluster, GENERATE_JOB) == 86_400
    cluster.wait(86_399)
    cluster.settle()
    assert GENERATE_JOB in cluster.jobs()
    cluster.wait(1)
    cluster.settle()
    assert GENERATE_JOB not in cluster.jobs()
    assert cluster.jobs() == [TRAIN_JOB]


def test_a_failed_job_goes_a_day_after_its_failure_was_recorded() -> None:
    cluster = running()
    cluster.fail(2, Reason.TEACHER_REJECTED, "HTTP 401")
    assert Merge("Job", GENERATE_JOB, DAY) in cluster.decisions()
    cluster.settle()
    cluster.wait(86_400)
    cluster.settle()
    assert (cluster.jobs(), cluster.reason()) == ([], "TeacherRejected")
    cluster.request_retry()
    cluster.settle()
    assert cluster.jobs() == ["conjnli-generate-khmqypiu-2"]


def test_a_running_job_has_no_lifetime() -> None:
    cluster = running()
    cluster.settle()
    assert lifetime(cluster, GENERATE_JOB) is None


@pytest.mark.parametrize("exit_code", [0, 1, 2, 3])
def test_the_next_thing_starts_while_a_sidecar_goes_on(exit_code: int) -> None:
    cluster = with_sidecar()
    if exit_code:
        cluster.fail(exit_code, Reason.TEACHER_UNREACHABLE)
    else:
        cluster.finish()
    cluster.settle()
    record = cluster.record(Stage.GENERATE)
    assert (record.completion_time is None, record.reason) == (
        bool(exit_code),
        "TeacherUnreachable" if exit_code else None,
    )
    assert (TRAIN_JOB in cluster.jobs()) is (exit_code == 0)


@pytest.mark.parametrize("exit_code", [0, 2])
def test_a_sidecar_that_outlives_its_stage_by_a_minute_goes_with_its_job(exit_code: int) -> None:
    cluster = with_sidecar()
    if exit_code:
        cluster.fail(exit_code, Reason.TEACHER_REJECTED)
    else:
        cluster.finish()
    cluster.settle()
    assert cluster.requeue_after() is not None
    assert cluster.requeue_after() <= timedelta(seconds=60)  # type: ignore[operator]
    cluster.wait(59)
    assert Delete("Job", GENERATE_JOB) not in cluster.decisions()
    cluster.wait(1)
    assert Delete("Job", GENERATE_JOB) in cluster.decisions()
    cluster.settle()
    assert GENERATE_JOB not in cluster.jobs()
    assert not any(name.startswith(GENERATE_JOB) for name in cluster.pods)


def test_a_job_is_not_deleted_for_its_sidecar_before_its_result_is_recorded() -> None:
    cluster = with_sidecar()
    cluster.finish()
    cluster.wait(3600)
    cluster.reconcile(dies_after=0)
    assert GENERATE_JOB in cluster.jobs()
    cluster.reconcile(dies_after=1)
    assert (cluster.record(Stage.GENERATE).completion_time is not None, GENERATE_JOB in cluster.jobs()) == (True, True)
