"""Which requests stop a Job and let it go on: `spec.suspend`, without taking from others what they stopped."""

from __future__ import annotations

from collections.abc import Iterable

from distillery_operator.core.observation import JobState, ObservedJob, ObservedWorkload
from distillery_operator.core.queueing import is_out_of_reach, stopped_by_us
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.planning.names import SUSPENDED_ANNOTATION

Patch = tuple[str, str, Manifest]
"""Kind and name of an object, and a JSON merge patch for it."""


def suspension_patches(situation: Situation, job: ObservedJob) -> Iterable[Patch]:
    """The patches that stop a Job which is under way, or let it go on."""
    if situation.plan.suspended or job.queueing.other_controller:
        yield from _stop(situation, job)
    elif stopped_by_us(situation, job):
        yield from _go_on(job)


def _stop(situation: Situation, job: ObservedJob) -> Iterable[Patch]:
    workload = job.queueing.workload
    if is_out_of_reach(job):
        return  # Kueue would resume it at once.
    if workload is not None:
        if workload.active and not workload.given_up:
            yield _workload_patch(workload, active=False)
    elif job.state in (JobState.PENDING, JobState.RUNNING) or _lacks_mark(situation, job):
        yield _job_patch(job, suspended=True)


def _lacks_mark(situation: Situation, job: ObservedJob) -> bool:
    """Whether an earlier release suspended the Job, which marked nothing."""
    return stopped_by_us(situation, job) and not job.queueing.stopped_by_us


def _go_on(job: ObservedJob) -> Iterable[Patch]:
    workload = job.queueing.workload
    if workload and not workload.active:
        yield _workload_patch(workload, active=True)
    elif job.state is JobState.SUSPENDED and workload is None:
        yield _job_patch(job, suspended=False)


def _workload_patch(workload: ObservedWorkload, *, active: bool) -> Patch:
    return "Workload", workload.name, {"spec": {"active": active}, "metadata": _mark(stopped=not active)}


def _job_patch(job: ObservedJob, *, suspended: bool) -> Patch:
    return "Job", job.name, {"spec": {"suspend": suspended}, "metadata": _mark(stopped=suspended)}


def _mark(*, stopped: bool) -> Manifest:
    """The mark goes with the change: an operator that dies leaves both or neither."""
    return {"annotations": {SUSPENDED_ANNOTATION: "true" if stopped else None}}
