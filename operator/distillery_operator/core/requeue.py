"""When a Distillation is reconciled again although no event asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from distillery_api.reasons import Reason
from distillery_operator.core.assessment import Assessment
from distillery_operator.core.ended_jobs import next_outlived
from distillery_operator.core.observation import JobState
from distillery_operator.core.queueing import queue_requeue
from distillery_operator.core.routes import route_name_conflict
from distillery_operator.core.serving_rollout import Rollout, RolloutPhase
from distillery_operator.core.stages import StagePhase, StageState
from distillery_operator.core.unbound_claims import is_unbound
from distillery_operator.core.verification import waits_for_scale_up

UNWATCHED_REQUEUE = timedelta(minutes=1)
"""How often to check what no event reports, such as whether a name has become free."""

UNEXPLAINED_REQUEUE, LATE_UNEXPLAINED_REQUEUE = timedelta(seconds=20), timedelta(minutes=5)
"""How soon to check a Pod again that has not started: by then its events may explain it. The longer it has waited, the
later, since thousands may wait."""

SHORTEST_REQUEUE = timedelta(seconds=1)


def requeue_after(assessment: Assessment) -> timedelta | None:
    """When to reconcile again although nothing happens; None where only an event changes anything."""
    delays = [moment - assessment.situation.now for moment in _moments(assessment)]
    delays += [UNEXPLAINED_REQUEUE] if _waits_for_server(assessment.rollout) else []
    waits = _waits_for_pod(assessment.stages.current) or _waits_for_volume(assessment)
    delays += [_unexplained_requeue(assessment)] if waits else []
    delays += [UNWATCHED_REQUEUE] if _waits_for_unwatched(assessment) else []
    in_queue = queue_requeue(assessment.situation, assessment.stages.current.job)
    delays += [in_queue] if in_queue else []
    return max(min(delays), SHORTEST_REQUEUE) if delays else None


def _moments(assessment: Assessment) -> Iterable[datetime]:
    """When the next attempt is due, and when a Pod will have been blocked, or outlived its stage, for too long."""
    situation, current = assessment.situation, assessment.stages.current
    record = current.record
    if record and record.retry_time and current.phase is StagePhase.BACKING_OFF:
        yield record.retry_time
    retry, server_blocked_since = situation.settings.retry, assessment.rollout.blocked_since
    deadlines = [*retry.waiting_deadlines(record)] if record else []
    deadlines += [server_blocked_since + retry.blocked_deadline] if server_blocked_since else []
    yield from (deadline for deadline in deadlines if deadline > situation.now)
    yield from next_outlived(situation, assessment.stages)
    step = assessment.rollout.canary
    if step and step.due and step.due > situation.now:
        yield step.due


def _waits_for_pod(state: StageState) -> bool:
    """Whether a stage's Pod has not started and does not say why: only its events may explain it."""
    return state.job is not None and state.job.state is JobState.PENDING and state.problem is None


def _waits_for_server(rollout: Rollout) -> bool:
    """Whether a serving Pod has not started and does not say why."""
    starting = rollout.phase is RolloutPhase.ROLLING_OUT and not rollout.can_be_verified
    return starting and rollout.problem is None


def _unexplained_requeue(assessment: Assessment) -> timedelta:
    """A quarter of the time that it has been waiting: for a Pod, since its Job began, or since it has a node."""
    job, now = assessment.stages.current.job, assessment.situation.now
    waited = now - job.waits_since if job and job.waits_since and job.state is JobState.PENDING else timedelta()
    return min(max(waited / 4, UNEXPLAINED_REQUEUE), LATE_UNEXPLAINED_REQUEUE)


def _waits_for_volume(assessment: Assessment) -> bool:
    """Whether a claim has no volume: only its events say why."""
    claim, job = assessment.situation.observation.claim, assessment.stages.current.job
    return claim is not None and job is not None and job.state is JobState.PENDING and is_unbound(claim.manifest)


def _waits_for_unwatched(assessment: Assessment) -> bool:
    """Whether a precondition, a full volume, the route's name, or a server that only a person can repair, may depend on
    what is not watched."""
    current = assessment.stages.current
    waiting = current.phase is StagePhase.WAITING and not assessment.situation.plan.suspended
    # A rollout consists of what is watched, and so does the spec.
    for_rollout = current.problem is not None and current.problem.reason is Reason.ROLLING_OUT
    watched = for_rollout or waits_for_scale_up(assessment.stages)
    full = current.record is not None and current.record.full_capacity is not None and current.stalled
    # A node that no longer answers sends no event either.
    stopping = current.problem is not None and current.problem.reason is Reason.POD_EVICTED
    taken = route_name_conflict(assessment.situation) is not None
    return (waiting and not watched) or full or stopping or taken or assessment.rollout.stalled
