"""Where each stage stands: what the status recorded, brought up to date with what is seen, and what is to happen next.

Both the actions and the status follow from `advance`, so an action is in the status before it is done: an operator
that dies in between finds the name of the Job that it meant to create, and creates that one and no other.

A stage's record says by itself where the stage is: with `completion_time` it is done; with `reason` and `retry_time`
the next attempt waits; with `reason` alone it is stalled; with none of these the attempt that `job` names is under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import FAILURE_REASONS, ExitCode
from distillery_api.status import StageStatus
from distillery_operator.core.observation import JobState, SeenJob
from distillery_operator.core.preconditions import STALLING_REASONS, name_conflict, unmet_precondition
from distillery_operator.core.problem import Problem
from distillery_operator.core.retry_policy import RetrySettings
from distillery_operator.core.situation import Situation
from distillery_operator.planning import names
from distillery_operator.planning.plan import PlannedStage

KEPT_ATTEMPTS = 3
"""Jobs of a stage that are kept for their logs."""

BLOCKING_REASONS = frozenset(
    {
        Reason.IMAGE_PULL_ERROR,
        Reason.CONFIGURATION_MISSING,
        Reason.VOLUME_UNAVAILABLE,
        Reason.INVALID_SPEC,
        Reason.POD_REFUSED,
    }
)
"""What never fails a Job by itself, and rarely goes away without a person. A full cluster is not among them."""

_MESSAGE_LIMIT = 1000


class StagePhase(StrEnum):
    """Where a stage is."""

    HELD = "Held"
    """It may not start yet."""
    STARTING = "Starting"
    """Its Job is to be created now."""
    UNDER_WAY = "UnderWay"
    REPLACING = "Replacing"
    """Its Job was made from an outdated template, does not run, and is to be deleted now."""
    BACKING_OFF = "BackingOff"
    FAILED = "Failed"
    DONE = "Done"


@dataclass(frozen=True)
class StageState:
    """One stage."""

    planned: PlannedStage
    phase: StagePhase
    record: StageStatus | None = None
    job: SeenJob | None = None
    problem: Problem | None = None
    """What holds, blocks or failed it."""
    stalled: bool = False
    """Whether only a person can help."""
    checked: bool = True
    """Whether Pods like its own were already judged by the server; only said of a stage that is starting."""


@dataclass(frozen=True)
class StageStates:
    """All stages up to the first that is not done."""

    views: tuple[StageState, ...]
    discarded: tuple[SeenJob, ...] = ()
    """Jobs to delete: of other inputs, or of attempts long past."""

    @property
    def current(self) -> StageState:
        """The first stage that is not done, else the last."""
        return self.views[-1]

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.current.phase is StagePhase.DONE and self.current.planned.stage.is_last

    @property
    def records(self) -> tuple[StageStatus, ...]:
        """The stages for the status."""
        return tuple(view.record for view in self.views if view.record)


def advance(scene: Situation) -> StageStates:
    """Brings every stage's record up to date, and starts what is due."""
    views: list[StageState] = []
    for planned in scene.plan.stages:
        views.append(_view(scene, planned))
        if views[-1].phase is not StagePhase.DONE:
            break
    return StageStates(tuple(views), _discarded(scene, views))


def _view(scene: Situation, planned: PlannedStage) -> StageState:
    record = _asked_again(scene, planned, _with_facts(scene, planned))
    if record is None:
        return _begin(scene, planned, None)
    if record.completion_time:
        return StageState(planned, StagePhase.DONE, record, scene.observation.named(record.job))
    if record.reason:
        return _after_failure(scene, planned, record)
    return _attempt(scene, planned, record)


def _with_facts(scene: Situation, planned: PlannedStage) -> StageStatus | None:
    """The record, with what its Jobs have come to."""
    record = scene.recorded(planned)
    if record and record.completion_time:
        return record
    jobs = [job for job in _own(scene, planned) if job.state is not JobState.TERMINATING]
    done = next((job for job in jobs if job.state is JobState.DONE), None)
    if jobs and (record is None or jobs[0].attempt > record.attempts):
        record = _adopted(scene, planned, jobs[0])
    if record is None:
        return None
    return _completed(record, done, scene.now) if done else _with_job(scene, record)


def _own(scene: Situation, planned: PlannedStage) -> tuple[SeenJob, ...]:
    return scene.observation.attempts(planned.stage, planned.input_hash)


def _adopted(scene: Situation, planned: PlannedStage, job: SeenJob) -> StageStatus:
    """A record for a Job that the status does not know: the status was lost."""
    return StageStatus(
        name=planned.stage,
        input_hash=planned.input_hash,
        job=job.name,
        attempts=job.attempt,
        start_time=job.created,
        last_attempt_time=job.created,
        configuration=scene.configuration(planned),
    )


def _with_job(scene: Situation, record: StageStatus) -> StageStatus:
    job = scene.observation.named(record.job)
    if record.reason:
        return record
    if job and job.state is JobState.FAILED:
        return _failed(record, job, scene.now, scene.settings.retry)
    blocked = job is not None and _blocked(job)
    return _updated(record, blocked_since=(record.blocked_since or scene.now) if blocked else None)


def _blocked(job: SeenJob) -> bool:
    return job.state is JobState.PENDING and job.problem is not None and job.problem.reason in BLOCKING_REASONS


def _completed(record: StageStatus, job: SeenJob, now: datetime) -> StageStatus:
    result = job.result
    return StageStatus(
        name=record.name,
        input_hash=record.input_hash,
        job=job.name,
        attempts=record.attempts,
        start_time=record.start_time,
        last_attempt_time=record.last_attempt_time,
        configuration=record.configuration,
        completion_time=job.finished or now,
        message=_short(result.message) if result and result.message else None,
        rows=result.rows if result else None,
        usage=result.usage if result else None,
        training=result.training if result else None,
    )


def _failed(record: StageStatus, job: SeenJob, now: datetime, retry: RetrySettings) -> StageStatus:
    """The record after a failure: with a time for the next attempt, unless none can help or patience is over."""
    finished = job.finished or now
    failing_since = _failing_since(record, job, finished, retry)
    due = finished + retry.delay(record.attempts)
    final = job.exit_code == ExitCode.USER_ERROR or due > failing_since + retry.deadline
    problem = job.problem or Problem(None, "it does not say why")
    return _updated(
        record,
        reason=problem.reason or FAILURE_REASONS[record.name],
        message=_short(problem.message),
        failing_since=failing_since,
        retry_time=None if final else due,
        blocked_since=None,
        progress=None,
        rows=(job.result and job.result.rows) or record.rows,
        usage=(job.result and job.result.usage) or record.usage,
    )


def _failing_since(record: StageStatus, job: SeenJob, finished: datetime, retry: RetrySettings) -> datetime:
    """An attempt that lasted got past what failed those before it. Not so with too little memory, which may be used up
    late, and again and again."""
    starved = job.problem is not None and job.problem.reason is Reason.CONTAINER_OOM_KILLED
    lasted = record.last_attempt_time is not None and finished - record.last_attempt_time > retry.deadline
    return finished if record.failing_since is None or (lasted and not starved) else record.failing_since


def _asked_again(scene: Situation, planned: PlannedStage, record: StageStatus | None) -> StageStatus | None:
    """A failed stage is due at once when the annotation asks for it, or when it would be given something else."""
    if record is None or record.completion_time:
        return record
    if record.reason:
        due = record.failing_since is None
        if not due and (scene.retry_requested or record.configuration != scene.configuration(planned)):
            return _updated(record, retry_time=scene.now, failing_since=None)
    elif scene.retry_requested and record.blocked_since:
        # An unknown configuration never fits, so the Job is replaced even if the operator dies before it does that.
        return _updated(record, configuration=None)
    return record


def _after_failure(scene: Situation, planned: PlannedStage, record: StageStatus) -> StageState:
    problem = Problem(Reason(record.reason or ""), record.message or "")
    job = scene.observation.named(record.job)
    if record.retry_time is None:
        return StageState(planned, StagePhase.FAILED, record, job, problem, stalled=True)
    if record.retry_time > scene.now:
        return StageState(planned, StagePhase.BACKING_OFF, record, job, problem)
    return _begin(scene, planned, record)


def _attempt(scene: Situation, planned: PlannedStage, record: StageStatus) -> StageState:
    """An attempt that the record names: under way, or still to be created."""
    job = scene.observation.named(record.job)
    if job is None or job.state in (JobState.TERMINATING, JobState.FOREIGN):
        return _start(scene, planned, record, record)
    problem = job.problem
    if _outdated(scene, planned, record, job):
        return StageState(planned, StagePhase.REPLACING, record, job, problem)
    since = record.blocked_since
    stalled = since is not None and scene.now - since >= scene.settings.retry.blocked_deadline
    return StageState(planned, StagePhase.UNDER_WAY, record, job, problem, stalled=stalled)


def _outdated(scene: Situation, planned: PlannedStage, record: StageStatus, job: SeenJob) -> bool:
    """A Job that does not run for a cause that a changed spec may have removed. A running one is never disturbed."""
    if scene.plan.suspended or job.state not in (JobState.PENDING, JobState.SUSPENDED):
        return False
    stuck = job.state is JobState.SUSPENDED or job.problem is not None
    return stuck and record.configuration != scene.configuration(planned)


def _begin(scene: Situation, planned: PlannedStage, record: StageStatus | None) -> StageState:
    """The next attempt."""
    attempt = record.attempts + 1 if record else 1
    begun = record or StageStatus(name=planned.stage, input_hash=planned.input_hash, start_time=scene.now)
    following = _updated(
        begun,
        job=names.job_name(scene.plan.name, planned.folder, attempt),
        attempts=attempt,
        last_attempt_time=scene.now,
        retry_time=None,
        reason=None,
        progress=None,
    )
    return _start(scene, planned, record, following)


def _start(scene: Situation, planned: PlannedStage, record: StageStatus | None, following: StageStatus) -> StageState:
    """Starts the attempt that `following` names, unless something is in the way; then the record stays as it was."""
    there = scene.observation.named(following.job)
    if there and there.state is JobState.FOREIGN:
        problem = name_conflict("Job", there.name)
        return StageState(planned, StagePhase.HELD, following, there, problem, stalled=True)
    held = unmet_precondition(scene, following)
    if held:
        return StageState(planned, StagePhase.HELD, record, there, held, stalled=held.reason in STALLING_REASONS)
    configuration = scene.configuration(planned)
    known = record is not None and record.configuration == configuration
    begun = _updated(following, configuration=configuration)
    return StageState(planned, StagePhase.STARTING, begun, checked=known)


def _discarded(scene: Situation, views: Iterable[StageState]) -> tuple[SeenJob, ...]:
    planned = {(stage.stage, stage.input_hash) for stage in scene.plan.stages}
    return tuple(
        job
        for job in scene.observation.jobs
        if job.stage
        and job.state is not JobState.TERMINATING
        and ((job.stage, job.input_hash) not in planned or _long_past(job, views))
    )


def _long_past(job: SeenJob, views: Iterable[StageState]) -> bool:
    records = (view.record for view in views if view.record and view.planned.stage is job.stage)
    return any(job.attempt <= record.attempts - KEPT_ATTEMPTS and job.name != record.job for record in records)


def _updated(record: StageStatus, **fields: object) -> StageStatus:
    return record.model_copy(update=fields)


def _short(text: str) -> str:
    return shortened(text, _MESSAGE_LIMIT)
