"""The status, all of it, and nowhere else: what `kubectl wait`, kstatus, Argo CD and people read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from distillery_api.evaluation import Evaluation
from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.resource import Metadata
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress
from distillery_api.status import (
    ConditionType,
    DistillationStatus,
    Run,
    ServingStatus,
    StageStatus,
)
from distillery_api.usage import Estimate, Usage
from distillery_operator.core.conditions import (
    MESSAGE_LIMIT,
    OverallState,
    Summary,
    conditions,
    dated,
    overall_facts,
    service_url,
    summarise,
)
from distillery_operator.core.observation import Observation, Ownership
from distillery_operator.core.problem import Problem
from distillery_operator.core.serving_rollout import Rollout, RolloutPhase, roll_out
from distillery_operator.core.situation import Settings, Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates, advance
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

HISTORY_LENGTH = 5


@dataclass(frozen=True)
class Refusal:
    """The server's words about something that it will not take."""

    message: str
    reason: Reason = Reason.INVALID_SPEC


def compute_status(
    plan: Plan,
    observation: Observation,
    previous: DistillationStatus,
    now: datetime,
    settings: Settings,
    *,
    progress: Progress | None = None,
    estimate: Estimate | None = None,
    refused: Refusal | None = None,
) -> DistillationStatus:
    """The status that follows from what is wanted, seen and remembered; it already names what `decide` will create.

    `progress` and `estimate` are what the running stage last said of itself, `refused` what the server would not take.
    """
    problem = Problem(refused.reason, refused.message) if refused else None
    scene = Situation(plan, observation, previous, now.replace(microsecond=0), settings, problem)
    ledger = advance(scene)
    rollout = roll_out(scene, ledger)
    verdict = summarise(scene, ledger, rollout)
    stages = tuple(_with_progress(scene, view, progress) for view in ledger.views if view.record)
    return DistillationStatus(
        observed_generation=plan.generation,
        conditions=conditions(scene, ledger, verdict),
        stages=tuple(stage for stage in stages if stage),
        progress=_progress_text(ledger, rollout, stages[-1] if stages else None),
        workspace_claim=_claim(scene, ledger),
        usage=_usage(ledger.records),
        estimate=_estimate(scene, ledger, estimate),
        evaluation=_evaluation(scene, ledger),
        serving=_serving(scene, rollout),
        history=_history(scene, ledger),
        last_handled_retry_at=plan.retry_at or previous.last_handled_retry_at,
    )


def invalid_status(metadata: Metadata, previous: DistillationStatus, now: datetime, message: str) -> DistillationStatus:
    """The status of a spec that breaks the rules, so that there is no plan. What runs and serves is left alone."""
    verdict = Summary(OverallState.STALLED, Reason.INVALID_SPEC, shortened(message, MESSAGE_LIMIT))
    about = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUSPENDED)
    kept = (
        (each.type, each.status, each.reason, each.message) for each in previous.conditions if each.type not in about
    )
    facts = [*overall_facts(verdict, serves=False), *kept]
    conditions = dated(facts, previous, metadata.generation, now.replace(microsecond=0))
    return previous.model_copy(update={"observed_generation": metadata.generation, "conditions": conditions})


def _with_progress(scene: Situation, view: StageState, progress: Progress | None) -> StageStatus | None:
    running = scene.observation.running
    if progress is None or view.record is None or running is None or view.job != running:
        return view.record
    told = progress if progress.eta_seconds is not None else _with_eta(progress, view.record, scene.now)
    return view.record.model_copy(update={"progress": told})


def _with_eta(progress: Progress, record: StageStatus, now: datetime) -> Progress:
    """An estimate from the speed since the start. A later attempt begins where the one before ended, so of its speed
    nothing is known."""
    if record.attempts > 1 or record.last_attempt_time is None or not 0 < progress.done <= progress.total:
        return progress
    elapsed = (now - record.last_attempt_time).total_seconds()
    return progress.model_copy(update={"eta_seconds": _rounded(elapsed * (progress.total / progress.done - 1))})


def _rounded(seconds: float) -> int:
    """Seconds, as exactly as one would say them."""
    step = 5 if seconds < 60 else 30 if seconds < 600 else 60
    return round(seconds / step) * step


def _progress_text(ledger: StageStates, rollout: Rollout, record: StageStatus | None) -> str:
    if ledger.finished:
        done = rollout.phase in (RolloutPhase.OFF, RolloutPhase.SERVING)
        return "done" if done else "rolling out"
    stage = ledger.current.planned.stage
    text = f"{stage.number}/{len(Stage)} {stage}"
    progress = record.progress if record and record.name is stage else None
    if progress is None or not progress.total:
        return text
    return f"{text} {100 * progress.done // progress.total}%{_remaining(progress.eta_seconds)}"


def _remaining(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f", {seconds} s left" if seconds < 60 else f", {round(seconds / 60)} min left"


def _claim(scene: Situation, ledger: StageStates) -> str | None:
    known = scene.observation.claim or ledger.current.phase is StagePhase.STARTING
    return scene.plan.claim_name if known else scene.previous.workspace_claim


def _usage(records: Iterable[StageStatus]) -> Usage | None:
    usages = [record.usage for record in records if record.usage]
    return sum(usages, Usage()) if usages else None


def _estimate(scene: Situation, ledger: StageStates, told: Estimate | None) -> Estimate | None:
    """What the stage's result says, else what it says while it runs, else what was known of the same inputs."""
    generate = ledger.views[0]
    reported = generate.job.result.estimate if generate.job and generate.job.result else None
    same_inputs = scene.recorded(generate.planned) is not None
    return reported or told or (scene.previous.estimate if same_inputs else None)


def _newly_finished(scene: Situation, ledger: StageStates) -> bool:
    """Whether the evaluation is done and the status does not say so yet."""
    if not ledger.finished:
        return False
    before = scene.recorded(ledger.current.planned)
    return before is None or before.completion_time is None


def _evaluation(scene: Situation, ledger: StageStates) -> Evaluation | None:
    """The last finished evaluation's table."""
    if not _newly_finished(scene, ledger):
        return scene.previous.evaluation
    job = ledger.current.job
    return job.result.evaluation if job and job.result else None


def _history(scene: Situation, ledger: StageStates) -> tuple[Run, ...]:
    record = ledger.current.record
    if record is None or record.completion_time is None or not _newly_finished(scene, ledger):
        return scene.previous.history
    table = _evaluation(scene, ledger)
    run = Run(
        completion_time=record.completion_time,
        model_path=scene.plan.model_path,
        student=table.student.score if table and table.student else None,
        teacher=table.teacher.score if table and table.teacher else None,
    )
    others = (before for before in scene.previous.history if before.model_path != run.model_path)
    return (run, *others)[:HISTORY_LENGTH]


def _serving(scene: Situation, rollout: Rollout) -> ServingStatus | None:
    """The server as it is; its address is known from the moment that it is to be created."""
    if rollout.model is None:
        return None
    deployment = scene.observation.deployment
    seen = deployment if deployment and deployment.ownership is Ownership.OURS else None
    return ServingStatus(
        url=service_url(scene.plan),
        model=scene.plan.name,
        model_path=seen.model_path if seen else rollout.model.model_path,
        image=seen.image if seen else None,
        replicas=seen.replicas if seen else 0,
        ready_replicas=seen.ready if seen else 0,
        selector=names.serving_selector(scene.plan.name),
        student_prompt=seen.student_prompt if seen else rollout.model.student_prompt,
        blocked_since=rollout.blocked_since,
    )
