"""When a resource is looked at again although no event asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from distillery_api.status import DistillationStatus
from distillery_operator.core.observation import JobState, Observation
from distillery_operator.core.serving_rollout import Rollout, RolloutPhase, roll_out
from distillery_operator.core.situation import Settings, Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates, advance
from distillery_operator.planning.plan import Plan

CONFLICT_REQUEUE = timedelta(minutes=1)
"""How often to see whether a name has become free: no event tells."""

UNEXPLAINED_REQUEUE = timedelta(seconds=20)
"""How soon to look again at a Pod that has not started."""


def requeue_after(
    plan: Plan, observation: Observation, previous: DistillationStatus, now: datetime, settings: Settings
) -> timedelta | None:
    """When to look again though nothing happens; None where only an event changes anything."""
    scene = Situation(plan, observation, previous, now.replace(microsecond=0), settings)
    ledger = advance(scene)
    moments = [moment - now for moment in _moments(scene, ledger)]
    rollout = roll_out(scene, ledger)
    moments += [UNEXPLAINED_REQUEUE] if _waits_for_pod(ledger.current, rollout) else []
    moments += [CONFLICT_REQUEUE] if _waits_for_name(scene, ledger, rollout) else []
    return max(min(moments), timedelta(seconds=1)) if moments else None


def _moments(scene: Situation, ledger: StageStates) -> Iterable[datetime]:
    record = ledger.current.record
    if record and record.retry_time and ledger.current.phase is StagePhase.BACKING_OFF:
        yield record.retry_time
    since = [record.blocked_since if record else None, roll_out(scene, ledger).blocked_since]
    deadlines = (start + scene.settings.retry.blocked_deadline for start in since if start)
    yield from (deadline for deadline in deadlines if deadline > scene.now)


def _waits_for_pod(view: StageState, rollout: Rollout) -> bool:
    """Whether a Pod is on its way, and says nothing: only its events may say why."""
    pending = view.job is not None and view.job.state is JobState.PENDING and view.problem is None
    return pending or (rollout.phase is RolloutPhase.ROLLING_OUT and rollout.problem is None)


def _waits_for_name(scene: Situation, ledger: StageStates, rollout: Rollout) -> bool:
    return (ledger.current.phase is StagePhase.HELD and not scene.plan.suspended) or rollout.stalled
