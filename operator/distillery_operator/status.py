"""The status, all of it, and nowhere else: what `kubectl wait`, kstatus, Argo CD and people read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from distillery_api.resource import Metadata
from distillery_api.result import Estimate, Evaluation, Progress, Reason, Stage, Usage, shortened
from distillery_api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    DistillationStatus,
    Run,
    ServingStatus,
    StageStatus,
)
from distillery_operator import names
from distillery_operator.ledger import Ledger, Phase, Scene, Settings, StageView, advance, find_condition
from distillery_operator.manifests.serving import SERVING_PORT
from distillery_operator.observe import Observation, SeenDeployment, Standing
from distillery_operator.plan import Plan
from distillery_operator.pods import Trouble
from distillery_operator.rollout import Rollout, RolloutPhase, roll_out

HISTORY_LENGTH = 5

_STAGE_REASONS = {
    Stage.GENERATE: Reason.GENERATING_DATA,
    Stage.TRAIN: Reason.TRAINING,
    Stage.EVALUATE: Reason.EVALUATING,
}
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
_MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class Refusal:
    """The server's words about something that it will not take."""

    message: str
    reason: Reason = Reason.INVALID_SPEC


class Outlook(StrEnum):
    """What a person should expect."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"


@dataclass(frozen=True)
class Verdict:
    """The one thing to say about the resource as a whole."""

    outlook: Outlook
    reason: Reason
    message: str


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
    trouble = Trouble(refused.reason, refused.message) if refused else None
    scene = Scene(plan, observation, previous, now.replace(microsecond=0), settings, trouble)
    ledger = advance(scene)
    rollout = roll_out(scene, ledger)
    verdict = _verdict(scene, ledger, rollout)
    stages = tuple(_with_progress(scene, view, progress) for view in ledger.views if view.record)
    return DistillationStatus(
        observed_generation=plan.generation,
        conditions=_conditions(scene, ledger, verdict),
        stages=tuple(stage for stage in stages if stage),
        progress=_progress_text(ledger, rollout, stages[-1] if stages else None),
        workspace_claim=_claim(scene, ledger),
        usage=_usage(ledger.records),
        estimate=_estimate(scene, ledger, estimate),
        evaluation=_evaluation(scene, ledger),
        serving=_serving(scene, rollout),
        history=_history(scene, ledger),
        last_handled_reconcile_at=plan.retry_at or previous.last_handled_reconcile_at,
    )


def invalid_status(metadata: Metadata, previous: DistillationStatus, now: datetime, message: str) -> DistillationStatus:
    """The status of a spec that breaks the rules, so that there is no plan. What runs and serves is left alone."""
    verdict = Verdict(Outlook.STALLED, Reason.INVALID_SPEC, shortened(message, _MESSAGE_LIMIT))
    about = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUSPENDED)
    kept = (
        (each.type, each.status, each.reason, each.message) for each in previous.conditions if each.type not in about
    )
    facts = [*_overall(verdict, serves=False), *kept]
    conditions = _dated(facts, previous, metadata.generation, now.replace(microsecond=0))
    return previous.model_copy(update={"observed_generation": metadata.generation, "conditions": conditions})


Fact = tuple[ConditionType, ConditionStatus, str, str]
"""Type, status, reason and message of a condition."""


def _verdict(scene: Scene, ledger: Ledger, rollout: Rollout) -> Verdict:
    if scene.plan.suspended:
        return Verdict(Outlook.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true: what is done is kept and served")
    if scene.refused:
        reason = scene.refused.reason or Reason.INVALID_SPEC
        return Verdict(Outlook.STALLED, reason, shortened(scene.refused.message, _MESSAGE_LIMIT))
    return _rollout_verdict(scene, rollout) if ledger.finished else _stage_verdict(ledger.current)


def _stage_verdict(view: StageView) -> Verdict:
    stage, record, trouble = view.planned.stage, view.record, view.trouble
    if view.stalled and trouble:
        return _said(Outlook.STALLED, trouble.reason or _STAGE_REASONS[stage], stage, trouble.message)
    if view.phase is Phase.BACKING_OFF and record and trouble:
        return _said(Outlook.PROGRESSING, Reason.PROGRESSING_WITH_RETRY, stage, _retry_sentence(record, trouble))
    if trouble:
        return _said(Outlook.PROGRESSING, trouble.reason or Reason.QUEUED, stage, trouble.message)
    if record and record.failing_since:
        message = f"attempt {record.attempts} is under way; the one before failed: {record.message}"
        return _said(Outlook.PROGRESSING, Reason.PROGRESSING_WITH_RETRY, stage, message)
    return _said(Outlook.PROGRESSING, _STAGE_REASONS[stage], stage, _STAGE_SENTENCES[stage])


def _said(outlook: Outlook, reason: Reason, stage: Stage, message: str) -> Verdict:
    return Verdict(outlook, reason, shortened(f"{stage}: {message}", _MESSAGE_LIMIT))


def _retry_sentence(record: StageStatus, trouble: Trouble) -> str:
    due = record.retry_time.strftime("%H:%M:%S UTC") if record.retry_time else "once"
    return (
        f"attempt {record.attempts} failed ({trouble.reason}): {trouble.message};"
        f" attempt {record.attempts + 1} follows at {due}"
    )


def _rollout_verdict(scene: Scene, rollout: Rollout) -> Verdict:
    if rollout.phase is RolloutPhase.OFF:
        return Verdict(Outlook.READY, Reason.SUCCEEDED, "the student is trained and scored; serving.mode is None")
    if rollout.phase is RolloutPhase.SERVING:
        return Verdict(Outlook.READY, Reason.SERVING, _serving_sentence(scene))
    trouble = rollout.trouble
    if rollout.stalled and trouble:
        return Verdict(Outlook.STALLED, trouble.reason or Reason.ROLLOUT_FAILED, f"serving: {trouble.message}")
    if trouble:
        return Verdict(Outlook.PROGRESSING, trouble.reason or Reason.ROLLING_OUT, f"serving: {trouble.message}")
    return Verdict(Outlook.PROGRESSING, Reason.ROLLING_OUT, "serving: the new student's server starts")


def _serving_sentence(scene: Scene) -> str:
    replicas = scene.plan.spec.serving.replicas
    return f"the student answers at {_url(scene.plan)}" if replicas else "serving is scaled to zero"


def _conditions(scene: Scene, ledger: Ledger, verdict: Verdict) -> tuple[Condition, ...]:
    available = _availability(scene.observation.deployment)
    serves = available[1] is ConditionStatus.TRUE
    facts = [*_overall(verdict, serves=serves), *_stage_facts(ledger, verdict), available]
    return _dated(facts, scene.previous, scene.plan.generation, scene.now)


def _overall(verdict: Verdict, *, serves: bool) -> Iterable[Fact]:
    """Ready, and what explains it. Reconciling and Stalled are there only while true, and never together."""
    ready = {Outlook.READY: ConditionStatus.TRUE}
    if serves:
        # An earlier student answers while the wanted one is in the making.
        ready[Outlook.PROGRESSING] = ConditionStatus.UNKNOWN
    yield (
        ConditionType.READY,
        ready.get(verdict.outlook, ConditionStatus.FALSE),
        verdict.reason,
        verdict.message,
    )
    explained_by = {
        Outlook.PROGRESSING: ConditionType.RECONCILING,
        Outlook.STALLED: ConditionType.STALLED,
        Outlook.SUSPENDED: ConditionType.SUSPENDED,
    }
    if verdict.outlook in explained_by:
        yield explained_by[verdict.outlook], ConditionStatus.TRUE, verdict.reason, verdict.message


def _stage_facts(ledger: Ledger, verdict: Verdict) -> Iterable[Fact]:
    views = {view.planned.stage: view for view in ledger.views}
    for stage, kind in _STAGE_CONDITIONS.items():
        view = views.get(stage)
        if view is None:
            yield kind, ConditionStatus.FALSE, Reason.NOT_STARTED, "an earlier stage is not done"
        elif view.phase is Phase.DONE:
            message = (view.record and view.record.message) or f"{view.planned.folder} is done"
            yield kind, ConditionStatus.TRUE, Reason.SUCCEEDED, message
        else:
            yield kind, ConditionStatus.FALSE, verdict.reason, verdict.message


def _availability(seen: SeenDeployment | None) -> Fact:
    if seen is None or seen.standing is not Standing.OURS:
        return ConditionType.AVAILABLE, ConditionStatus.FALSE, Reason.NOT_STARTED, "no student is served"
    if seen.available:
        return ConditionType.AVAILABLE, ConditionStatus.TRUE, Reason.SERVING, f"a server of {seen.model_path} answers"
    return ConditionType.AVAILABLE, ConditionStatus.FALSE, Reason.ROLLING_OUT, f"no server of {seen.model_path} answers"


def _dated(
    facts: Iterable[Fact], previous: DistillationStatus, generation: int, now: datetime
) -> tuple[Condition, ...]:
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


def _with_progress(scene: Scene, view: StageView, progress: Progress | None) -> StageStatus | None:
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


def _progress_text(ledger: Ledger, rollout: Rollout, record: StageStatus | None) -> str:
    if ledger.finished:
        done = rollout.phase in (RolloutPhase.OFF, RolloutPhase.SERVING)
        return "done" if done else "rolling out"
    stage = ledger.current.planned.stage
    text = f"{list(Stage).index(stage) + 1}/{len(Stage)} {stage}"
    progress = record.progress if record and record.name is stage else None
    if progress is None or not progress.total:
        return text
    return f"{text} {100 * progress.done // progress.total}%{_remaining(progress.eta_seconds)}"


def _remaining(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f", {seconds} s left" if seconds < 60 else f", {round(seconds / 60)} min left"


def _claim(scene: Scene, ledger: Ledger) -> str | None:
    known = scene.observation.claim or ledger.current.phase is Phase.STARTING
    return scene.plan.claim_name if known else scene.previous.workspace_claim


def _usage(records: Iterable[StageStatus]) -> Usage | None:
    usages = [record.usage for record in records if record.usage]
    return sum(usages, Usage()) if usages else None


def _estimate(scene: Scene, ledger: Ledger, told: Estimate | None) -> Estimate | None:
    """What the stage's result says, else what it says while it runs, else what was known of the same inputs."""
    generate = ledger.views[0]
    reported = generate.job.result.estimate if generate.job and generate.job.result else None
    same_inputs = scene.recorded(generate.planned) is not None
    return reported or told or (scene.previous.estimate if same_inputs else None)


def _newly_finished(scene: Scene, ledger: Ledger) -> bool:
    """Whether the evaluation is done and the status does not say so yet."""
    if not ledger.finished:
        return False
    before = scene.recorded(ledger.current.planned)
    return before is None or before.completion_time is None


def _evaluation(scene: Scene, ledger: Ledger) -> Evaluation | None:
    """The last finished evaluation's table."""
    if not _newly_finished(scene, ledger):
        return scene.previous.evaluation
    job = ledger.current.job
    return job.result.evaluation if job and job.result else None


def _history(scene: Scene, ledger: Ledger) -> tuple[Run, ...]:
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


def _serving(scene: Scene, rollout: Rollout) -> ServingStatus | None:
    """The server as it is; its address is known from the moment that it is to be created."""
    if rollout.model is None:
        return None
    deployment = scene.observation.deployment
    seen = deployment if deployment and deployment.standing is Standing.OURS else None
    return ServingStatus(
        url=_url(scene.plan),
        model=scene.plan.name,
        model_path=seen.model_path if seen else rollout.model.model_path,
        image=seen.image if seen else None,
        replicas=seen.replicas if seen else 0,
        ready_replicas=seen.ready if seen else 0,
        selector=names.serving_selector(scene.plan.name),
        student_prompt=seen.student_prompt if seen else rollout.model.student_prompt,
        blocked_since=rollout.blocked_since,
    )


def _url(plan: Plan) -> str:
    return f"http://{names.service_host(plan.name, plan.namespace)}:{SERVING_PORT}/v1"
