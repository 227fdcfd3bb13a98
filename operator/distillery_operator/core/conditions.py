"""The conditions of a Distillation: what holds, since when, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from distillery_api.evaluation import GateVerdict
from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.resource import PROMOTE_ANNOTATION
from distillery_api.stage import RUNNING_REASONS, Stage
from distillery_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    DistillationStatus,
    FailedRollout,
    Refusal,
    StageStatus,
)
from distillery_operator.core.assessment import Assessment
from distillery_operator.core.availability import availability, served_server
from distillery_operator.core.blocking import refusal_awaited_by_stage, refusal_of_server, unfulfilled_refusal
from distillery_operator.core.canary import Canary, missed_canary, uses_canary
from distillery_operator.core.canary_report import canary_sentence
from distillery_operator.core.gated_rollout import awaits_promotion, verdict_on_newest
from distillery_operator.core.observation import ObservedJob
from distillery_operator.core.problem import Problem, refusal_problem
from distillery_operator.core.publication import push_of_pinned_run
from distillery_operator.core.queueing import is_out_of_reach
from distillery_operator.core.routes import route_name_conflict
from distillery_operator.core.runs import pin_problem
from distillery_operator.core.serving_rollout import RolloutPhase, service_url
from distillery_operator.core.shared_server import awaited_of_host
from distillery_operator.core.situation import find_condition
from distillery_operator.core.stages import StagePhase, StageState, StageStates
from distillery_operator.core.verification import waits_for_scale_up
from distillery_operator.core.workspace import workspace_problem
from distillery_operator.planning.retry_rejected import annotation_problem

_STAGE_CONDITIONS = {
    Stage.GENERATE: ConditionType.DATA_GENERATED,
    Stage.TRAIN: ConditionType.TRAINED,
    Stage.EVALUATE: ConditionType.EVALUATED,
    Stage.PUBLISH: ConditionType.PUBLISHED,
    Stage.VERIFY: ConditionType.VERIFIED,
}
_STAGE_SENTENCES = {
    Stage.GENERATE: "the teacher is answering the rows",
    Stage.TRAIN: "the student is being trained on the teacher's answers",
    Stage.EVALUATE: "teacher, base model, student and baselines are being evaluated on the held-out rows",
    Stage.PUBLISH: "the student is being pushed to where it is published",
    Stage.VERIFY: "the served student is being asked rows of the evaluation",
}
MESSAGE_LIMIT = 2000


class OverallState(StrEnum):
    """What a user should expect."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"


@dataclass(frozen=True)
class Summary:
    """The one thing to say about the resource as a whole."""

    state: OverallState
    reason: Reason
    message: str


Fact = tuple[ConditionType, ConditionStatus, str, str]
"""Type, status, reason and message of a condition."""


def summarise(assessment: Assessment) -> Summary:
    """The one thing to say about the resource as a whole; what the API server refuses besides, and an annotation that
    asks for nothing, are added."""
    summary = _summary_without_refusals(assessment)
    refusal = refusal_awaited_by_stage(assessment) or _other_blocking_refusal(assessment, summary)
    if refusal:
        return _refusal_summary(refusal_problem(refusal))
    others = [refusal_problem(each).message for each in assessment.situation.refusals]
    if misspelt := annotation_problem(assessment.situation.plan.retry_rejected):
        others.append(misspelt)
    return replace(summary, message=shortened("; ".join((summary.message, *others)), MESSAGE_LIMIT))


def _other_blocking_refusal(assessment: Assessment, summary: Summary) -> Refusal | None:
    """What is refused apart from the stages counts once nothing else goes on, and nothing else is stalled."""
    if summary.state is OverallState.READY:
        return unfulfilled_refusal(assessment)
    rolling_out = summary.state is OverallState.PROGRESSING and _is_about_server(assessment)
    return refusal_of_server(assessment) if rolling_out else None


def _refusal_summary(problem: Problem) -> Summary:
    """A cause that may pass by itself is waited for; with any other one a person has to help."""
    state = OverallState.PROGRESSING if problem.reason is Reason.QUEUED else OverallState.STALLED
    return Summary(state, problem.reason or Reason.POD_REFUSED, shortened(problem.message, MESSAGE_LIMIT))


def _summary_without_refusals(assessment: Assessment) -> Summary:
    situation, states = assessment.situation, assessment.stages
    if situation.plan.suspended:
        return Summary(OverallState.SUSPENDED, Reason.SUSPENDED, _suspension_sentence(states.current.job))
    lost = workspace_problem(situation)
    if lost and states.current.problem != lost:
        return _workspace_summary(lost)
    unknown = pin_problem(situation)
    if unknown:
        return _pin_summary(assessment, unknown)
    verdict = verdict_on_newest(situation, states)
    if verdict and not verdict.met and not situation.plan.spec.serving.pinned_run:
        return Summary(OverallState.STALLED, Reason.QUALITY_GATE_FAILED, _gate_sentence(assessment, verdict))
    if awaits_promotion(situation, states):
        return Summary(OverallState.SUSPENDED, Reason.AWAITING_PROMOTION, _promotion_sentence(assessment))
    return _rollout_summary(assessment) if _is_about_server(assessment) else _current_stage_summary(assessment)


def _suspension_sentence(job: ObservedJob | None) -> str:
    if job and job.live and is_out_of_reach(job):
        return f"spec.suspend is true, but the Job {job.name} is in a queue, and {job.queueing.unreadable}"
    return "spec.suspend is true; finished stages are kept, and a student that is served stays served"


def _workspace_summary(problem: Problem) -> Summary:
    message = shortened(problem.message, MESSAGE_LIMIT)
    return Summary(OverallState.STALLED, problem.reason or Reason.WORKSPACE_LOST, message)


def _pin_summary(assessment: Assessment, problem: Problem) -> Summary:
    """The run that is pinned cannot be served, or not yet."""
    awaited = push_of_pinned_run(assessment.situation, assessment.stages)
    if awaited:
        return _stage_summary(awaited)
    return Summary(OverallState.STALLED, Reason.INVALID_SPEC, shortened(problem.message, MESSAGE_LIMIT))


def _promotion_sentence(assessment: Assessment) -> str:
    """What a person has to do, and what serves until then."""
    plan, served = assessment.situation.plan, served_server(assessment)
    newest = plan.stage(Stage.TRAIN).input_hash
    stays = f"{served.model.model_path} serves until then" if served else "no student is served until then"
    command = f"kubectl -n {plan.namespace} annotate distill {plan.name} {PROMOTE_ANNOTATION}={newest} --overwrite"
    sentence = f"the student of run {newest} is evaluated and waits to be promoted: {command}; {stays}"
    return _with_server_failure(assessment, sentence)


def _gate_sentence(assessment: Assessment, verdict: GateVerdict) -> str:
    served = assessment.rollout.server
    stays = f"the server keeps {served.model.model_path}" if served else "no student is served"
    return _with_server_failure(assessment, f"{verdict.message}; {stays}")


def _with_server_failure(assessment: Assessment, sentence: str) -> str:
    """The sentence, with why the server that stays could not be changed as the spec asks."""
    rollout = assessment.rollout
    failed = _failed_sentence(assessment, rollout.failed) if rollout.failed else None
    problem = f"serving: {rollout.problem.message}" if rollout.stalled and rollout.problem else None
    return shortened("; ".join(each for each in (sentence, failed or problem) if each), MESSAGE_LIMIT)


def _is_about_server(assessment: Assessment) -> bool:
    """Whether the server's state is what to report: once all stages are done, and while verify waits for it. While
    another student is made, its stage is."""
    states, rollout = assessment.stages, assessment.rollout
    if waits_for_scale_up(states) or (rollout.failed and _is_made(states)):
        return True
    waits_for_server = states.current.planned.stage is Stage.VERIFY and not rollout.can_be_verified
    return states.finished or (waits_for_server and not states.current.stalled)


def _is_made(states: StageStates) -> bool:
    """Whether no stage is left that the newest student needs before its rollout."""
    return states.current.planned.stage is Stage.VERIFY or states.current.phase is StagePhase.DONE


def _current_stage_summary(assessment: Assessment) -> Summary:
    """Of the current stage, with GPUs that it leaves idle, and why the server of an earlier student could not be
    changed meanwhile."""
    summary, failed = _stage_summary(assessment.stages.current), assessment.rollout.failed
    trains = assessment.stages.current.planned.stage is Stage.TRAIN
    idle = assessment.situation.plan.spec.training.idle_gpus if trains else None
    message = "; ".join(
        each for each in (summary.message, idle, _failed_sentence(assessment, failed) if failed else None) if each
    )
    return replace(summary, message=shortened(message, MESSAGE_LIMIT))


def _stage_summary(state: StageState) -> Summary:
    stage, record, problem = state.planned.stage, state.record, state.problem
    if state.stalled and problem:
        return _summary(OverallState.STALLED, problem.reason or RUNNING_REASONS[stage], stage, problem.message)
    if state.phase is StagePhase.BACKING_OFF and problem and problem.reason is Reason.WORKSPACE_IN_USE:
        return _summary(OverallState.PROGRESSING, Reason.QUEUED, stage, problem.message)
    if state.phase is StagePhase.BACKING_OFF and record and problem:
        return _summary(
            OverallState.PROGRESSING, Reason.PROGRESSING_WITH_RETRY, stage, _retry_sentence(record, problem)
        )
    if problem:
        return _summary(OverallState.PROGRESSING, problem.reason or Reason.QUEUED, stage, problem.message)
    if record and record.failing_since:
        message = f"attempt {record.attempts} is running; the previous attempt failed: {record.message}"
        return _summary(OverallState.PROGRESSING, Reason.PROGRESSING_WITH_RETRY, stage, message)
    return _summary(OverallState.PROGRESSING, RUNNING_REASONS[stage], stage, _STAGE_SENTENCES[stage])


def _summary(state: OverallState, reason: Reason, stage: Stage, message: str) -> Summary:
    return Summary(state, reason, shortened(f"{stage}: {message}", MESSAGE_LIMIT))


def _retry_sentence(record: StageStatus, problem: Problem) -> str:
    due = record.retry_time.strftime("%H:%M:%S UTC") if record.retry_time else "once"
    return (
        f"attempt {record.attempts} failed ({problem.reason}): {problem.message};"
        f" attempt {record.attempts + 1} starts at {due}"
    )


def _rollout_summary(assessment: Assessment) -> Summary:
    rollout = assessment.rollout
    if rollout.phase is RolloutPhase.OFF:
        return Summary(
            OverallState.READY, Reason.SUCCEEDED, "the student is trained and evaluated; serving.mode is None"
        )
    if rollout.failed:
        return Summary(
            OverallState.STALLED, Reason(rollout.failed.reason), _failed_sentence(assessment, rollout.failed)
        )
    if rollout.phase is RolloutPhase.SERVING:
        return _serving_summary(assessment)
    return _canary_summary(assessment, rollout.canary) if rollout.canary else _server_summary(assessment)


def _server_summary(assessment: Assessment) -> Summary:
    """Of a server that is being rolled out."""
    rollout, problem = assessment.rollout, assessment.rollout.problem
    if problem is None:
        hint = missed_canary(assessment.situation, rollout.wanted)
        guest = assessment.situation.plan.host is not None
        what = awaited_of_host(assessment.situation) if guest else "the new student's server is starting"
        sentence = f"serving: {what}"
        return Summary(OverallState.PROGRESSING, Reason.ROLLING_OUT, f"{sentence}; {hint}" if hint else sentence)
    reason = problem.reason or (Reason.ROLLOUT_FAILED if rollout.stalled else Reason.ROLLING_OUT)
    state = OverallState.STALLED if rollout.stalled else OverallState.PROGRESSING
    return Summary(state, reason, f"serving: {problem.message}")


def _canary_summary(assessment: Assessment, step: Canary) -> Summary:
    if assessment.rollout.problem:
        return _server_summary(assessment)
    sentence = shortened(canary_sentence(assessment.situation, step), MESSAGE_LIMIT)
    if step.is_paused:
        return Summary(OverallState.SUSPENDED, Reason.AWAITING_PROMOTION, sentence)
    return Summary(OverallState.PROGRESSING, Reason.ROLLING_OUT, sentence)


def _serving_summary(assessment: Assessment) -> Summary:
    """The student is served; its route may still be in somebody else's way."""
    conflict = route_name_conflict(assessment.situation)
    if conflict:
        return Summary(OverallState.STALLED, Reason.NAME_CONFLICT, f"serving: {conflict.message}")
    return Summary(OverallState.READY, Reason.SERVING, _serving_sentence(assessment))


def _failed_sentence(assessment: Assessment, failed: FailedRollout) -> str:
    """Why a rollout failed, and what serves instead."""
    rollout, wanted = assessment.rollout, assessment.rollout.wanted
    path = rollout.server.model.model_path if rollout.server else ""
    why = f": {rollout.problem.message}" if rollout.problem else ""
    again = "serves on" if wanted and uses_canary(assessment.situation, wanted) else "serves again"
    back = f"{path} {again}" if rollout.phase is RolloutPhase.SERVING else f"going back to {path}{why}"
    if rollout.server and wanted and rollout.server.digest == wanted.digest:
        back = "going back to the server before"
    stops = "; the rollout of the fleet stops here" if assessment.situation.fleet_turn else ""
    message = failed.message.removesuffix(".")
    return shortened(f"serving train-{failed.train}: {message}; {back}{stops}", MESSAGE_LIMIT)


def _serving_sentence(assessment: Assessment) -> str:
    plan, waiting = assessment.situation.plan, assessment.stages.current.problem
    if assessment.situation.replicas:
        pinned = plan.spec.serving.pinned_run
        which = f"the student of the pinned run {pinned}" if pinned else "the student"
        by = f" by the shared server of {plan.host}" if plan.host else ""
        return f"{which} is served at {service_url(plan)}{by}"
    scaled = f"the shared server of {plan.host} is scaled to zero" if plan.host else "serving is scaled to zero"
    return waiting.message if waiting else scaled


def conditions(assessment: Assessment) -> tuple[Condition, ...]:
    """All conditions, Ready first."""
    situation, summary = assessment.situation, summarise(assessment)
    available = availability(assessment)
    truth = ConditionStatus.TRUE if available.holds else ConditionStatus.FALSE
    facts = [
        *overall_facts(summary, serves=available.holds),
        *_stage_facts(assessment, summary),
        (ConditionType.AVAILABLE, truth, available.reason, available.message),
    ]
    return dated(facts, situation.previous, situation.plan.generation, situation.now)


def overall_facts(summary: Summary, *, serves: bool) -> Iterable[Fact]:
    """Ready, and what explains it. Reconciling and Stalled exist only while true, and never together."""
    ready = {OverallState.READY: ConditionStatus.TRUE}
    if serves:
        # An earlier student is served while the new one is being made.
        ready[OverallState.PROGRESSING] = ConditionStatus.UNKNOWN
    yield (
        ConditionType.READY,
        ready.get(summary.state, ConditionStatus.FALSE),
        summary.reason,
        summary.message,
    )
    explained_by = {
        OverallState.PROGRESSING: ConditionType.RECONCILING,
        OverallState.STALLED: ConditionType.STALLED,
        OverallState.SUSPENDED: ConditionType.SUSPENDED,
    }
    if summary.state in explained_by:
        yield explained_by[summary.state], ConditionStatus.TRUE, summary.reason, summary.message


def _stage_facts(assessment: Assessment, summary: Summary) -> Iterable[Fact]:
    by_stage = {state.planned.stage: state for state in assessment.stages.stages}
    for planned in assessment.situation.plan.stages:
        kind, state = _STAGE_CONDITIONS[planned.stage], by_stage.get(planned.stage)
        if state is None:
            yield kind, ConditionStatus.FALSE, Reason.NOT_STARTED, _not_started(by_stage.values())
        elif state.phase is StagePhase.DONE:
            message = (state.record and state.record.message) or f"{state.planned.folder} is done"
            yield kind, ConditionStatus.TRUE, Reason.SUCCEEDED, message
        elif state.problem and summary.state is OverallState.READY:
            # Verify waits for a server that nobody wants.
            yield kind, ConditionStatus.FALSE, Reason.QUEUED, state.problem.message
        else:
            yield kind, ConditionStatus.FALSE, summary.reason, summary.message


def _not_started(known: Iterable[StageState]) -> str:
    """Why a stage has not begun, from the states of those before it."""
    waits = any(state.phase is not StagePhase.DONE for state in known)
    return "an earlier stage is not finished" if waits else "the newest student is not rolled out"


def dated(facts: Iterable[Fact], previous: DistillationStatus, generation: int, now: datetime) -> tuple[Condition, ...]:
    """The facts as conditions; a condition's time changes only with its status."""
    conditions = []
    for kind, status, reason, message in facts:
        before = find_condition(previous, kind)
        same = before is not None and before.status is status
        conditions.append(
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                last_transition_time=before.last_transition_time if before and same else now,
                observed_generation=generation,
            )
        )
    return tuple(conditions)
