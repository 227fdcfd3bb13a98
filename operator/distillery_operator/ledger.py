"""Where each stage stands: what the status recorded, brought up to date with what is seen, and what is to happen next.

Both the actions and the status follow from `advance`, so an action is in the status before it is done: an operator
that dies in between finds the name of the Job that it meant to create, and creates that one and no other.

A stage's record says by itself where the stage is: with `completion_time` it is done; with `reason` and `retry_time`
the next attempt waits; with `reason` alone it is stalled; with none of these the attempt that `job` names is under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from distillery_api.result import FAILURE_REASONS, ExitCode, Reason, Stage, shortened
from distillery_api.status import Condition, ConditionType, DistillationStatus, StageStatus
from distillery_operator import names
from distillery_operator.manifests.common import ManifestSettings
from distillery_operator.manifests.job import configuration_digest
from distillery_operator.observe import JobState, Observation, SeenJob, Standing
from distillery_operator.plan import Plan, PlannedStage
from distillery_operator.pods import Trouble

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


@dataclass(frozen=True)
class RetrySettings:
    """How patient the operator is."""

    first_delay: timedelta = timedelta(seconds=10)
    longest_delay: timedelta = timedelta(minutes=5)
    deadline: timedelta = timedelta(hours=1)
    """How long attempts may fail in a row before a person is called."""
    blocked_deadline: timedelta = timedelta(minutes=10)
    """How long a Pod may be kept from starting before a person is called."""

    def delay(self, attempts: int) -> timedelta:
        """The pause after that many attempts; it doubles from attempt to attempt."""
        doublings = min(attempts - 1, 20)
        return min(self.first_delay * float(2**doublings), self.longest_delay)


@dataclass(frozen=True)
class Settings:
    """What an installation decides."""

    manifests: ManifestSettings
    retry: RetrySettings = field(default_factory=RetrySettings)


class Phase(StrEnum):
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
class StageView:
    """One stage."""

    planned: PlannedStage
    phase: Phase
    record: StageStatus | None = None
    job: SeenJob | None = None
    trouble: Trouble | None = None
    """What holds, blocks or failed it."""
    stalled: bool = False
    """Whether only a person can help."""
    checked: bool = True
    """Whether Pods like its own were already judged by the server; only said of a stage that is starting."""


@dataclass(frozen=True)
class Ledger:
    """All stages up to the first that is not done."""

    views: tuple[StageView, ...]
    discarded: tuple[SeenJob, ...] = ()
    """Jobs to delete: of other inputs, or of attempts long past."""

    @property
    def current(self) -> StageView:
        """The first stage that is not done, else the last."""
        return self.views[-1]

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.current.phase is Phase.DONE and self.current.planned.stage is Stage.EVALUATE

    @property
    def records(self) -> tuple[StageStatus, ...]:
        """The stages for the status."""
        return tuple(view.record for view in self.views if view.record)


@dataclass(frozen=True)
class Scene:
    """What is known at one moment."""

    plan: Plan
    observation: Observation
    previous: DistillationStatus
    now: datetime
    settings: Settings
    refused: Trouble | None = None
    """Set once the server has refused what would be created."""

    @property
    def retry_requested(self) -> bool:
        """Whether the retry annotation asks for something that was not yet done."""
        return self.plan.retry_at is not None and self.plan.retry_at != self.previous.last_handled_reconcile_at

    def configuration(self, planned: PlannedStage) -> str:
        """Digest of what an attempt would be given now."""
        return configuration_digest(self.plan, planned, self.settings.manifests)

    def recorded(self, planned: PlannedStage) -> StageStatus | None:
        """The stage's record, if it is about the same inputs."""
        records = (record for record in self.previous.stages if record.name is planned.stage)
        return next((record for record in records if record.input_hash == planned.input_hash), None)


def advance(scene: Scene) -> Ledger:
    """Brings every stage's record up to date, and starts what is due."""
    views: list[StageView] = []
    for planned in scene.plan.stages:
        views.append(_view(scene, planned))
        if views[-1].phase is not Phase.DONE:
            break
    return Ledger(tuple(views), _discarded(scene, views))


def names_to_read(plan: Plan, previous: DistillationStatus) -> tuple[tuple[str, str], ...]:
    """Kind and name of the objects to read by name, because a label query does not find what is not ours."""
    stalled = find_condition(previous, ConditionType.STALLED)
    if stalled is None or stalled.reason != Reason.NAME_CONFLICT:
        return ()
    jobs = tuple(("Job", record.job) for record in previous.stages if record.job and not record.completion_time)
    serving = names.serving_name(plan.name)
    return (*jobs, ("Deployment", serving), ("Service", serving))


def find_condition(status: DistillationStatus, kind: ConditionType) -> Condition | None:
    """The condition of that kind."""
    return next((condition for condition in status.conditions if condition.type is kind), None)


def conflict(kind: str, name: str) -> Trouble:
    """A name of ours that something else has."""
    return Trouble(
        Reason.NAME_CONFLICT,
        f"the {kind} {name} exists already and belongs to something else; delete it, or choose another metadata.name",
    )


def _view(scene: Scene, planned: PlannedStage) -> StageView:
    record = _asked_again(scene, planned, _with_facts(scene, planned))
    if record is None:
        return _begin(scene, planned, None)
    if record.completion_time:
        return StageView(planned, Phase.DONE, record, scene.observation.named(record.job))
    if record.reason:
        return _after_failure(scene, planned, record)
    return _attempt(scene, planned, record)


def _with_facts(scene: Scene, planned: PlannedStage) -> StageStatus | None:
    """The record, with what its Jobs have come to."""
    record = scene.recorded(planned)
    if record and record.completion_time:
        return record
    jobs = [job for job in _own(scene, planned) if job.state is not JobState.LEAVING]
    done = next((job for job in jobs if job.state is JobState.DONE), None)
    if jobs and (record is None or jobs[0].attempt > record.attempts):
        record = _adopted(scene, planned, jobs[0])
    if record is None:
        return None
    return _completed(record, done, scene.now) if done else _with_job(scene, record)


def _own(scene: Scene, planned: PlannedStage) -> tuple[SeenJob, ...]:
    return scene.observation.attempts(planned.stage, planned.input_hash)


def _adopted(scene: Scene, planned: PlannedStage, job: SeenJob) -> StageStatus:
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


def _with_job(scene: Scene, record: StageStatus) -> StageStatus:
    job = scene.observation.named(record.job)
    if record.reason:
        return record
    if job and job.state is JobState.FAILED:
        return _failed(record, job, scene.now, scene.settings.retry)
    blocked = job is not None and _blocked(job)
    return _updated(record, blocked_since=(record.blocked_since or scene.now) if blocked else None)


def _blocked(job: SeenJob) -> bool:
    return job.state is JobState.PENDING and job.trouble is not None and job.trouble.reason in BLOCKING_REASONS


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
    trouble = job.trouble or Trouble(None, "it does not say why")
    return _updated(
        record,
        reason=trouble.reason or FAILURE_REASONS[record.name],
        message=_short(trouble.message),
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
    starved = job.trouble is not None and job.trouble.reason is Reason.CONTAINER_OOM_KILLED
    lasted = record.last_attempt_time is not None and finished - record.last_attempt_time > retry.deadline
    return finished if record.failing_since is None or (lasted and not starved) else record.failing_since


def _asked_again(scene: Scene, planned: PlannedStage, record: StageStatus | None) -> StageStatus | None:
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


def _after_failure(scene: Scene, planned: PlannedStage, record: StageStatus) -> StageView:
    trouble = Trouble(Reason(record.reason or ""), record.message or "")
    job = scene.observation.named(record.job)
    if record.retry_time is None:
        return StageView(planned, Phase.FAILED, record, job, trouble, stalled=True)
    if record.retry_time > scene.now:
        return StageView(planned, Phase.BACKING_OFF, record, job, trouble)
    return _begin(scene, planned, record)


def _attempt(scene: Scene, planned: PlannedStage, record: StageStatus) -> StageView:
    """An attempt that the record names: under way, or still to be created."""
    job = scene.observation.named(record.job)
    if job is None or job.state in (JobState.LEAVING, JobState.FOREIGN):
        return _start(scene, planned, record, record)
    trouble = job.trouble
    if _outdated(scene, planned, record, job):
        return StageView(planned, Phase.REPLACING, record, job, trouble)
    since = record.blocked_since
    stalled = since is not None and scene.now - since >= scene.settings.retry.blocked_deadline
    return StageView(planned, Phase.UNDER_WAY, record, job, trouble, stalled=stalled)


def _outdated(scene: Scene, planned: PlannedStage, record: StageStatus, job: SeenJob) -> bool:
    """A Job that does not run for a cause that a changed spec may have removed. A running one is never disturbed."""
    if scene.plan.suspended or job.state not in (JobState.PENDING, JobState.SUSPENDED):
        return False
    stuck = job.state is JobState.SUSPENDED or job.trouble is not None
    return stuck and record.configuration != scene.configuration(planned)


def _begin(scene: Scene, planned: PlannedStage, record: StageStatus | None) -> StageView:
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


def _start(scene: Scene, planned: PlannedStage, record: StageStatus | None, following: StageStatus) -> StageView:
    """Starts the attempt that `following` names, unless something is in the way; then the record stays as it was."""
    there = scene.observation.named(following.job)
    if there and there.state is JobState.FOREIGN:
        trouble = conflict("Job", there.name)
        return StageView(planned, Phase.HELD, following, there, trouble, stalled=True)
    held = _hold(scene, following)
    if held:
        return StageView(planned, Phase.HELD, record, there, held, stalled=held.reason in _STALLING_HOLDS)
    configuration = scene.configuration(planned)
    known = record is not None and record.configuration == configuration
    begun = _updated(following, configuration=configuration)
    return StageView(planned, Phase.STARTING, begun, checked=known)


_STALLING_HOLDS = frozenset({Reason.NAME_CONFLICT, Reason.INVALID_SPEC, Reason.WORKSPACE_LOST})


def _hold(scene: Scene, record: StageStatus) -> Trouble | None:
    """What must be over before a Job may be created."""
    if scene.plan.suspended:
        return Trouble(Reason.SUSPENDED, "spec.suspend is true")
    return scene.refused or _claim_trouble(scene) or _company(scene.observation, record)


def _claim_trouble(scene: Scene) -> Trouble | None:
    claim, name, given = scene.observation.claim, scene.plan.claim_name, scene.plan.spec.storage.claim_name
    if claim is None:
        return _absent_claim(scene, name, given=given is not None)
    if claim.standing is Standing.LEAVING:
        return Trouble(Reason.VOLUME_UNAVAILABLE, f"waiting for the claim {name} to be deleted")
    if claim.lost:
        return Trouble(Reason.WORKSPACE_LOST, f"the volume of the claim {name} has disappeared")
    if claim.standing is Standing.FOREIGN and given is None:
        return conflict("PersistentVolumeClaim", name)
    return None


def _absent_claim(scene: Scene, name: str, *, given: bool) -> Trouble | None:
    if given:
        return Trouble(Reason.CONFIGURATION_MISSING, f"storage.claimName: there is no PersistentVolumeClaim {name}")
    recorded = any(record.completion_time for record in scene.previous.stages)
    if not recorded and not any(job.state is JobState.DONE for job in scene.observation.jobs):
        return None
    return Trouble(
        Reason.WORKSPACE_LOST,
        f"the claim {name} is gone, and with it the rows and models of the stages that were done; restore it, or delete"
        " this Distillation and apply it again, which runs and pays for every stage anew",
    )


def _company(observation: Observation, record: StageStatus) -> Trouble | None:
    """Two stages at once would write into one workspace."""
    live = next((job for job in observation.jobs if job.live), None)
    if live:
        return Trouble(None, f"waiting for the Job {live.name} to stop")
    if observation.lingering:
        return Trouble(None, f"waiting for the Pod {observation.lingering[0]} to stop")
    return None


def _discarded(scene: Scene, views: Iterable[StageView]) -> tuple[SeenJob, ...]:
    planned = {(stage.stage, stage.input_hash) for stage in scene.plan.stages}
    return tuple(
        job
        for job in scene.observation.jobs
        if job.stage
        and job.state is not JobState.LEAVING
        and ((job.stage, job.input_hash) not in planned or _long_past(job, views))
    )


def _long_past(job: SeenJob, views: Iterable[StageView]) -> bool:
    records = (view.record for view in views if view.record and view.planned.stage is job.stage)
    return any(job.attempt <= record.attempts - KEPT_ATTEMPTS and job.name != record.job for record in records)


def _updated(record: StageStatus, **fields: object) -> StageStatus:
    return record.model_copy(update=fields)


def _short(text: str) -> str:
    return shortened(text, _MESSAGE_LIMIT)
