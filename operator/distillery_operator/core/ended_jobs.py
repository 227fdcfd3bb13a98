"""What becomes of the Jobs of attempts that have ended: first their result goes into the status, then they go.

A Job that has finished gets a time to live, so that the logs of its Pod stay readable for a while. One whose stage has
ended and that does not finish, because a sidecar outlives the stage, holds its GPU for nothing, and no time to live
counts for it: it is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from distillery_operator.core.observation import JobState, ObservedJob
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageStates


def jobs_to_expire(situation: Situation, states: StageStates) -> tuple[ObservedJob, ...]:
    """The finished Jobs without a time to live whose result the status has."""
    recorded = _recorded(situation, states)
    return tuple(job for job in recorded if job.has_finished and job.ttl_seconds is None)


def outlived_jobs(situation: Situation, states: StageStates) -> tuple[ObservedJob, ...]:
    """The Jobs whose result the status has, and in whose Pods a sidecar runs on."""
    return tuple(job for job in _beside_sidecar(situation, states) if _patience_ends(situation, job) <= situation.now)


def next_outlived(situation: Situation, states: StageStates) -> Iterable[datetime]:
    """When a sidecar that still runs will have run for too long."""
    moments = (_patience_ends(situation, job) for job in _beside_sidecar(situation, states))
    return (moment for moment in moments if moment > situation.now)


def _beside_sidecar(situation: Situation, states: StageStates) -> Iterable[ObservedJob]:
    return (job for job in _recorded(situation, states) if job.finished and not job.has_finished)


def _patience_ends(situation: Situation, job: ObservedJob) -> datetime:
    now, grace = situation.now, situation.settings.sidecar_grace
    ends = (job.finished or now) + grace
    # What ends much later was written before the clock was set back.
    return ends if ends <= now + 2 * grace else now


def _recorded(situation: Situation, states: StageStates) -> Iterable[ObservedJob]:
    """Jobs that have ended, and whose end is in the status that is written before anything is done."""
    ended = (job for job in situation.observation.jobs if job.state in (JobState.DONE, JobState.FAILED))
    gone = {job.name for job in states.discarded}
    return (job for job in ended if job.name not in gone and _is_recorded(situation, states, job))


def _is_recorded(situation: Situation, states: StageStates, job: ObservedJob) -> bool:
    for planned in situation.plan.stages:
        if (planned.stage, planned.input_hash) == (job.stage, job.input_hash):
            records = (state.record for state in states.stages if state.planned == planned)
            record = next(records, situation.recorded(planned))
            return record is not None and (
                job.attempt < record.attempts
                or bool(job.name == record.job and (record.completion_time or record.reason))
            )
    return False
