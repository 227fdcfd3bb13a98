"""The state of each stage: what the status recorded, brought up to date with the observation, and what comes next.

Both the actions and the status follow from `stage_states`, so an action is in the status before it is carried out: an
operator that dies in between finds the name of the Job that it meant to create, and creates that one and no other.

A stage's record says by itself where the stage is: with `completion_time` it is done; with `reason` and `retry_time`
the next attempt waits; with `reason` alone it is stalled; with none of these the attempt that `job` names is under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from distillery_api.evaluation import Evaluation
from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import FAILURE_REASONS, Stage
from distillery_api.status import StageStatus
from distillery_operator.core.enlarged_volume import volume_has_grown
from distillery_operator.core.failed_attempt import after_failure, given_up
from distillery_operator.core.gpu_yield import (
    explained,
    is_servers_share,
    lacks_room,
    starts_beside_server,
    unreleased_gpu,
    yields_gpu,
)
from distillery_operator.core.name_conflicts import config_map_conflict
from distillery_operator.core.observation import JobState, ObservedJob
from distillery_operator.core.placement import is_misplaced
from distillery_operator.core.preconditions import STALLING_REASONS, unmet_precondition
from distillery_operator.core.problem import STAGE_MESSAGE_LIMIT, Problem, known_reason, name_conflict
from distillery_operator.core.queueing import (
    holding_problem,
    is_held,
    is_outdated_in_queue,
    only_a_person_can_resume,
)
from distillery_operator.core.rejected_rows import concerns, frees_failed, unhandled_retry
from distillery_operator.core.retry_policy import (
    BLOCKING_REASONS,
    blocked_after_request,
    due_now,
    failed_after_request,
    lasting_since,
)
from distillery_operator.core.serving_student import compared_hash, compares_anew, compares_otherwise
from distillery_operator.core.situation import Situation
from distillery_operator.planning import names
from distillery_operator.planning.plan import PlannedStage

KEPT_ATTEMPTS = 3
"""Jobs of a stage that are kept for their logs."""


class StagePhase(StrEnum):
    """Where a stage is."""

    WAITING = "Waiting"
    """It may not start yet: a precondition is not met."""
    STARTING = "Starting"
    """Its Job is to be created now."""
    UNDER_WAY = "UnderWay"
    REPLACING = "Replacing"
    """Its Job was made from an outdated template or for another node, does not run, and is to be deleted now."""
    BACKING_OFF = "BackingOff"
    FAILED = "Failed"
    DONE = "Done"


@dataclass(frozen=True)
class StageState:
    """How one stage stands: its phase, its Job and its problem."""

    planned: PlannedStage
    phase: StagePhase
    record: StageStatus | None = None
    job: ObservedJob | None = None
    problem: Problem | None = None
    """What holds, blocks or failed it."""
    stalled: bool = False
    """Whether only a person can help."""
    checked: bool = True
    """Whether the server has already accepted Pods like its own; only set while a stage is starting."""


@dataclass(frozen=True)
class StageStates:
    """All stages up to the first that is not done."""

    stages: tuple[StageState, ...]
    finished: bool = False
    """Whether all stages are done."""
    discarded: tuple[ObservedJob, ...] = ()
    """Jobs to delete: of other inputs, or of old attempts."""

    @property
    def current(self) -> StageState:
        """The first stage that is not done, else the last."""
        return self.stages[-1]

    def done(self, stage: Stage) -> StageState | None:
        """The stage, where it is done."""
        states = (state for state in self.stages if state.planned.stage is stage)
        return next((state for state in states if state.phase is StagePhase.DONE), None)

    @property
    def records(self) -> tuple[StageStatus, ...]:
        """The stages for the status."""
        return tuple(state.record for state in self.stages if state.record)


def stage_states(situation: Situation) -> StageStates:
    """Bring the record of every stage up to date, and start what is due; without publish and verify, which depend on
    the quality gate and the server that depend on these."""
    states: list[StageState] = []
    for planned in situation.plan.stages:
        if planned.stage in (Stage.PUBLISH, Stage.VERIFY):
            break
        states.append(stage_state(situation, planned))
        if states[-1].phase is not StagePhase.DONE or _rows_changed(situation, states[-1]):
            break
    return joined_states(situation, states)


def _rows_changed(situation: Situation, state: StageState) -> bool:
    """Whether generate has just finished with other rows than the later stages are planned for. The next
    reconciliation plans them anew."""
    if state.planned.stage is not Stage.GENERATE or state.record is None:
        return False
    return state.record.rows_revision != situation.plan.rows_revision


def joined_states(situation: Situation, states: Sequence[StageState]) -> StageStates:
    """The states of the first stages, up to one that is not done."""
    all_known = len(states) == len(situation.plan.stages)
    finished = all_known and states[-1].phase is StagePhase.DONE
    return StageStates(tuple(states), finished, _discarded(situation, states))


def newly_evaluated(situation: Situation, states: StageStates) -> StageState | None:
    """The evaluate stage where it is done and the previous status does not say so yet."""
    evaluate = states.done(Stage.EVALUATE)
    before = situation.recorded(evaluate.planned) if evaluate else None
    return None if before and before.completion_time else evaluate


def last_evaluation(situation: Situation, states: StageStates) -> Evaluation | None:
    """The result table of the last finished evaluation."""
    new = newly_evaluated(situation, states)
    if new is None:
        return situation.previous.evaluation
    return new.job.result.evaluation if new.job and new.job.result else None


def stage_state(situation: Situation, planned: PlannedStage) -> StageState:
    """Bring one stage's record up to date, and start it if it is due."""
    record = _up_to_date(situation, planned)
    if record is None or _retries_rows(situation, record) or compares_anew(situation, record):
        return _next_attempt(situation, planned, record)
    if record.completion_time:
        return StageState(planned, StagePhase.DONE, record, situation.observation.job_named(record.job))
    if record.reason:
        return _failed_attempt(situation, planned, record)
    return _recorded_attempt(situation, planned, record)


def _up_to_date(situation: Situation, planned: PlannedStage) -> StageStatus | None:
    """The stage's record, with what has become of its Jobs."""
    record = situation.recorded(planned)
    if record and record.completion_time:
        return record
    attempts = situation.observation.attempts(planned.stage, planned.input_hash)
    jobs = [job for job in attempts if job.state is not JobState.TERMINATING]
    if jobs and (record is None or jobs[0].attempt > record.attempts):
        record = _adopted(situation, planned, jobs[0])
    if record is None:
        return None
    # An earlier attempt may be done as well, where rows are asked again.
    done = next((job for job in jobs if job.state is JobState.DONE and job.attempt >= record.attempts), None)
    return _completed(record, done, situation.now) if done else _with_job(situation, planned, record)


def _adopted(situation: Situation, planned: PlannedStage, job: ObservedJob) -> StageStatus:
    """A record for a Job that the status does not know: the status was lost."""
    return StageStatus(
        name=planned.stage,
        input_hash=planned.input_hash,
        job=job.name,
        attempts=job.attempt,
        start_time=job.created,
        last_attempt_time=job.created,
        configuration=situation.configuration(planned),
    )


def _with_job(situation: Situation, planned: PlannedStage, record: StageStatus) -> StageStatus:
    job = situation.observation.job_named(record.job)
    if record.reason:
        return record
    if job and job.state is JobState.FAILED:
        return after_failure(situation, planned, record, job)
    reason = job.problem.reason if job and job.state is JobState.PENDING and job.problem else None
    blocked_since = lasting_since(record.blocked_since, situation.now)
    unschedulable_since = lasting_since(record.unschedulable_since, situation.now)
    return record.model_copy(
        update={
            "blocked_since": blocked_since if reason in BLOCKING_REASONS else None,
            "unschedulable_since": unschedulable_since if _lacks_room(situation, planned, reason) else None,
        },
    )


def _lacks_room(situation: Situation, planned: PlannedStage, reason: Reason | None) -> bool:
    return reason is Reason.UNSCHEDULABLE and lacks_room(situation, planned)


def _completed(record: StageStatus, job: ObservedJob, now: datetime) -> StageStatus:
    result = job.result
    return StageStatus(
        name=record.name,
        input_hash=record.input_hash,
        job=job.name,
        attempts=record.attempts,
        start_time=record.start_time,
        last_attempt_time=record.last_attempt_time,
        configuration=record.configuration,
        compared_with=record.compared_with,
        micro_batches=record.micro_batches,
        completion_time=job.finished or now,
        message=shortened(result.message, STAGE_MESSAGE_LIMIT) if result and result.message else None,
        rows=result.rows if result else None,
        rows_revision=result.rows_revision if result else None,
        usage=result.usage if result else None,
        training=result.training if result else None,
        model_image=result.model_image if result else None,
        hub_revision=result.hub_revision if result else None,
        verification=result.verification if result else None,
    )


def _retries_rows(situation: Situation, record: StageStatus) -> bool:
    """Whether an annotation asks for rows of a finished stage: for those that failed for a cause that may have passed,
    or for rejected ones. While a Job runs, or a later stage has not finished, retry-at is about that stage, and
    retry-rejected waits."""
    failed = record.completion_time is not None and record.rows is not None and record.rows.transient_failures > 0
    wanted = (failed and situation.retry_requested) or concerns(situation, record)
    if not wanted or unmet_precondition(situation):
        return False
    later = [_up_to_date(situation, planned) for planned in situation.plan.stages if planned.stage is not record.name]
    return all(each is None or each.completion_time for each in later)


def _failed_attempt(situation: Situation, planned: PlannedStage, record: StageStatus) -> StageState:
    """An attempt that failed: it stays so, or the next one waits, or is due."""
    record = failed_after_request(
        record,
        configuration=situation.configuration(planned),
        spec_changed=situation.spec_changed,
        retry_requested=situation.retry_requested or frees_failed(situation, record),
        now=situation.now,
    )
    if volume_has_grown(record, situation.observation.claim) or compares_otherwise(situation, planned, record):
        record = due_now(record, situation.now)
    problem = Problem(known_reason(record.reason, FAILURE_REASONS[record.name]), record.message or "")
    job = situation.observation.job_named(record.job)
    if record.retry_time is None:
        return StageState(planned, StagePhase.FAILED, record, job, problem, stalled=True)
    due = situation.settings.retry.due(record.retry_time, situation.now)
    record = record.model_copy(update={"retry_time": due})
    if due > situation.now:
        return StageState(planned, StagePhase.BACKING_OFF, record, job, problem)
    return _next_attempt(situation, planned, record)


def _recorded_attempt(situation: Situation, planned: PlannedStage, record: StageStatus) -> StageState:
    """An attempt that the record names: under way, or still to be created."""
    record = blocked_after_request(record, retry_requested=situation.retry_requested)
    job = situation.observation.job_named(record.job)
    if job is None or job.state in (JobState.TERMINATING, JobState.FOREIGN):
        return _start(situation, planned, record, record)
    if _outdated(situation, planned, record, job) or is_misplaced(situation, planned, job):
        return StageState(planned, StagePhase.REPLACING, record, job, job.problem)
    problem = holding_problem(situation, job) or explained(situation, planned, job.problem)
    stalled = situation.settings.retry.waited_too_long(record, situation.now)
    if stalled and problem and yields_gpu(situation, planned):
        # Its Pod may hold the GPU that the server needs.
        record = given_up(record, problem, situation.now)
        return StageState(planned, StagePhase.FAILED, record, job, problem, stalled=True)
    stalled = stalled or only_a_person_can_resume(job)
    return StageState(planned, StagePhase.UNDER_WAY, record, job, problem, stalled=stalled)


def _outdated(situation: Situation, planned: PlannedStage, record: StageStatus, job: ObservedJob) -> bool:
    """Whether a Job does not run for a cause that a changed spec, or another image of the installation, may have
    removed. A running one is never disturbed."""
    if situation.plan.suspended or job.state not in (JobState.PENDING, JobState.SUSPENDED):
        return False
    if is_held(situation, job):
        return is_outdated_in_queue(situation, planned, job)
    stuck = job.state is JobState.SUSPENDED or job.problem is not None
    changed = record.configuration != situation.configuration(planned)
    return stuck and (changed or job.image not in (None, situation.image(planned)))


def _next_attempt(situation: Situation, planned: PlannedStage, record: StageStatus | None) -> StageState:
    attempt = record.attempts + 1 if record else 1
    begun = record or StageStatus(name=planned.stage, input_hash=planned.input_hash, start_time=situation.now)
    following = begun.model_copy(
        update={
            "job": names.job_name(situation.plan.name, planned.folder, attempt),
            "attempts": attempt,
            "last_attempt_time": situation.now,
            "retry_rejected": _rejected_to_retry(situation, record),
            "completion_time": None,
            "retry_time": None,
            "reason": None,
            "progress": None,
        }
    )
    return _start(situation, planned, record, following)


def _rejected_to_retry(situation: Situation, record: StageStatus | None) -> str | None:
    """The request for rejected rows that an attempt is given: a new one, or that of the attempt before it."""
    if record is None:
        return None
    new = concerns(situation, record) or frees_failed(situation, record)
    return unhandled_retry(situation) if new else record.retry_rejected


def _start(
    situation: Situation, planned: PlannedStage, record: StageStatus | None, following: StageStatus
) -> StageState:
    """Start the attempt that `following` names; where a precondition is not met, the record stays as it was."""
    job = situation.observation.job_named(following.job)
    if job and job.state is JobState.FOREIGN:
        problem = name_conflict("Job", job.name)
        return StageState(planned, StagePhase.WAITING, following, job, problem, stalled=True)
    unmet = config_map_conflict(situation, planned) or _unmet(situation, planned)
    if unmet:
        stalled = unmet.reason in STALLING_REASONS or _is_lost_for_long(situation, unmet)
        return StageState(planned, StagePhase.WAITING, record, job, unmet, stalled=stalled)
    configuration = situation.configuration(planned)
    checked = record is not None and record.configuration == configuration
    compared_with = compared_hash(situation, planned)
    begun = following.model_copy(update={"configuration": configuration, "compared_with": compared_with})
    return StageState(planned, StagePhase.STARTING, begun, checked=checked)


def _is_lost_for_long(situation: Situation, unmet: Problem) -> bool:
    lost = situation.observation.lost_pod
    return lost is not None and unmet == lost.problem and situation.blocked_too_long(lost.since)


def _unmet(situation: Situation, planned: PlannedStage) -> Problem | None:
    """Why the stage may not start. A quota that is full of the server's GPU has room once the server has stopped."""
    unmet = unmet_precondition(situation)
    if unmet and not is_servers_share(situation, unmet):
        return unmet
    if unmet is None and starts_beside_server(situation):
        return None
    return unreleased_gpu(situation, planned) or unmet


def _discarded(situation: Situation, states: Iterable[StageState]) -> tuple[ObservedJob, ...]:
    planned = {(stage.stage, stage.input_hash) for stage in situation.plan.stages}
    return tuple(
        job
        for job in situation.observation.jobs
        if job.stage
        and job.state is not JobState.TERMINATING
        and ((job.stage, job.input_hash) not in planned or _is_old(job, states) or _is_given_up(job, states))
    )


def _is_given_up(job: ObservedJob, states: Iterable[StageState]) -> bool:
    """Whether a Job has not started and is not waited for any longer."""
    given_up = {state.record.job for state in states if state.record and state.phase is StagePhase.FAILED}
    return job.state is JobState.PENDING and job.name in given_up


def _is_old(job: ObservedJob, states: Iterable[StageState]) -> bool:
    """Whether enough later attempts keep their logs."""
    records = (state.record for state in states if state.record and state.planned.stage is job.stage)
    return any(job.attempt <= record.attempts - KEPT_ATTEMPTS and job.name != record.job for record in records)
