"""The conditions of a Distillation: what holds, since when, why, and in whose words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import RUNNING_REASONS, Stage
from distillery_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    DistillationStatus,
    StageStatus,
)
from distillery_operator.core.observation import Ownership, SeenDeployment
from distillery_operator.core.problem import Problem
from distillery_operator.core.serving_rollout import Rollout, RolloutPhase
from distillery_operator.core.situation import Situation, find_condition
from distillery_operator.core.stages import StagePhase, StageState, StageStates
from distillery_operator.manifests.serving import SERVING_PORT
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

_STAGE_CONDITIONS = {
    Stage.GENERATE: ConditionType.DATA_GENERATED,
    Stage.TRAIN: ConditionType.TRAINED,
    Stage.EVALUATE: ConditionType.EVALUATED,
}
_STAGE_SENTENCES = {
    Stage.GENERATE: "the teacher answers the rows",
    Stage.TRAIN: "the student learns from the teacher's answers",
    Stage.EVALUATE: "teacher, base model and student answer the held-out rows",
}
MESSAGE_LIMIT = 2000


class OverallState(StrEnum):
    """What a person should expect."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"


@dataclass(frozen=True)
class Summary:
    """The one thing to say about the resource as a whole."""

    outlook: OverallState
    reason: Reason
    message: str


Fact = tuple[ConditionType, ConditionStatus, str, str]
"""Type, status, reason and message of a condition."""


def summarise(scene: Situation, ledger: StageStates, rollout: Rollout) -> Summary:
    """The one thing to say about the resource as a whole."""
    if scene.plan.suspended:
        return Summary(
            OverallState.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true: what is done is kept and served"
        )
    if scene.refused:
        reason = scene.refused.reason or Reason.INVALID_SPEC
        return Summary(OverallState.STALLED, reason, shortened(scene.refused.message, MESSAGE_LIMIT))
    return _rollout_verdict(scene, rollout) if ledger.finished else _stage_verdict(ledger.current)


def _stage_verdict(view: StageState) -> Summary:
    stage, record, problem = view.planned.stage, view.record, view.problem
    if view.stalled and problem:
        return _said(OverallState.STALLED, problem.reason or RUNNING_REASONS[stage], stage, problem.message)
    if view.phase is StagePhase.BACKING_OFF and record and problem:
        return _said(OverallState.PROGRESSING, Reason.PROGRESSING_WITH_RETRY, stage, _retry_sentence(record, problem))
    if problem:
        return _said(OverallState.PROGRESSING, problem.reason or Reason.QUEUED, stage, problem.message)
    if record and record.failing_since:
        message = f"attempt {record.attempts} is under way; the one before failed: {record.message}"
        return _said(OverallState.PROGRESSING, Reason.PROGRESSING_WITH_RETRY, stage, message)
    return _said(OverallState.PROGRESSING, RUNNING_REASONS[stage], stage, _STAGE_SENTENCES[stage])


def _said(outlook: OverallState, reason: Reason, stage: Stage, message: str) -> Summary:
    return Summary(outlook, reason, shortened(f"{stage}: {message}", MESSAGE_LIMIT))


def _retry_sentence(record: StageStatus, problem: Problem) -> str:
    due = record.retry_time.strftime("%H:%M:%S UTC") if record.retry_time else "once"
    return (
        f"attempt {record.attempts} failed ({problem.reason}): {problem.message};"
        f" attempt {record.attempts + 1} follows at {due}"
    )


def _rollout_verdict(scene: Situation, rollout: Rollout) -> Summary:
    if rollout.phase is RolloutPhase.OFF:
        return Summary(OverallState.READY, Reason.SUCCEEDED, "the student is trained and scored; serving.mode is None")
    if rollout.phase is RolloutPhase.SERVING:
        return Summary(OverallState.READY, Reason.SERVING, _serving_sentence(scene))
    problem = rollout.problem
    if rollout.stalled and problem:
        return Summary(OverallState.STALLED, problem.reason or Reason.ROLLOUT_FAILED, f"serving: {problem.message}")
    if problem:
        return Summary(OverallState.PROGRESSING, problem.reason or Reason.ROLLING_OUT, f"serving: {problem.message}")
    return Summary(OverallState.PROGRESSING, Reason.ROLLING_OUT, "serving: the new student's server starts")


def _serving_sentence(scene: Situation) -> str:
    replicas = scene.plan.spec.serving.replicas
    return f"the student answers at {service_url(scene.plan)}" if replicas else "serving is scaled to zero"


def conditions(scene: Situation, ledger: StageStates, verdict: Summary) -> tuple[Condition, ...]:
    """All conditions, Ready first."""
    available = _availability(scene.observation.deployment)
    serves = available[1] is ConditionStatus.TRUE
    facts = [*overall_facts(verdict, serves=serves), *_stage_facts(ledger, verdict), available]
    return dated(facts, scene.previous, scene.plan.generation, scene.now)


def overall_facts(verdict: Summary, *, serves: bool) -> Iterable[Fact]:
    """Ready, and what explains it. Reconciling and Stalled are there only while true, and never together."""
    ready = {OverallState.READY: ConditionStatus.TRUE}
    if serves:
        # An earlier student answers while the wanted one is in the making.
        ready[OverallState.PROGRESSING] = ConditionStatus.UNKNOWN
    yield (
        ConditionType.READY,
        ready.get(verdict.outlook, ConditionStatus.FALSE),
        verdict.reason,
        verdict.message,
    )
    explained_by = {
        OverallState.PROGRESSING: ConditionType.RECONCILING,
        OverallState.STALLED: ConditionType.STALLED,
        OverallState.SUSPENDED: ConditionType.SUSPENDED,
    }
    if verdict.outlook in explained_by:
        yield explained_by[verdict.outlook], ConditionStatus.TRUE, verdict.reason, verdict.message


def _stage_facts(ledger: StageStates, verdict: Summary) -> Iterable[Fact]:
    views = {view.planned.stage: view for view in ledger.views}
    for stage, kind in _STAGE_CONDITIONS.items():
        view = views.get(stage)
        if view is None:
            yield kind, ConditionStatus.FALSE, Reason.NOT_STARTED, "an earlier stage is not done"
        elif view.phase is StagePhase.DONE:
            message = (view.record and view.record.message) or f"{view.planned.folder} is done"
            yield kind, ConditionStatus.TRUE, Reason.SUCCEEDED, message
        else:
            yield kind, ConditionStatus.FALSE, verdict.reason, verdict.message


def _availability(seen: SeenDeployment | None) -> Fact:
    if seen is None or seen.ownership is not Ownership.OURS:
        return ConditionType.AVAILABLE, ConditionStatus.FALSE, Reason.NOT_STARTED, "no student is served"
    if seen.available:
        return ConditionType.AVAILABLE, ConditionStatus.TRUE, Reason.SERVING, f"a server of {seen.model_path} answers"
    return ConditionType.AVAILABLE, ConditionStatus.FALSE, Reason.ROLLING_OUT, f"no server of {seen.model_path} answers"


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


def service_url(plan: Plan) -> str:
    """Base URL of the student\'s API inside the cluster."""
    return f"http://{names.service_host(plan.name, plan.namespace)}:{SERVING_PORT}/v1"
