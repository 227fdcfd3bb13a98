"""The status, all of it: what `kubectl wait`, kstatus, Argo CD and people read. Nobody else computes any part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from distillery_api.evaluation import Evaluation
from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.resource import Metadata
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress
from distillery_api.status import Candidate, ConditionType, DistillationStatus, ServingStatus, StageStatus
from distillery_api.usage import Estimate, Usage
from distillery_api.verification import Verification
from distillery_operator.core.assessment import Assessment
from distillery_operator.core.availability import candidate, is_taken_over, served_server, verification_of
from distillery_operator.core.call_costs import call_costs, serving_cost, with_call_costs
from distillery_operator.core.canary_report import canary_status
from distillery_operator.core.conditions import (
    MESSAGE_LIMIT,
    OverallState,
    Summary,
    conditions,
    dated,
    overall_facts,
)
from distillery_operator.core.eta import remaining_seconds
from distillery_operator.core.gated_rollout import awaits_promotion, meets_gate, verdict_on_newest
from distillery_operator.core.history import history
from distillery_operator.core.observation import ObservedJob, Ownership, StageReport
from distillery_operator.core.pruning import prunable_folders
from distillery_operator.core.rejected_rows import last_handled
from distillery_operator.core.routes import external_urls, route_status
from distillery_operator.core.servers import candidate_server
from distillery_operator.core.serving_rollout import RolloutPhase, service_url
from distillery_operator.core.shared_server import served_guests
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates, last_evaluation
from distillery_operator.core.verification import waits_for_scale_up
from distillery_operator.core.volume_resize import resize_message
from distillery_operator.core.workspace import recorded_workspace
from distillery_operator.planning import names


def compute_status(assessment: Assessment, report: StageReport) -> DistillationStatus:
    """The status that follows from the assessment; it already names what `decide` will create. `report` is what the
    running stage answered last."""
    situation, states = assessment.situation, assessment.stages
    reported = (_with_progress(situation, state, report.progress) for state in states.stages)
    records = tuple(record for record in reported if record)
    stages = (*records, *_kept_records(situation, states))
    runs = history(assessment)
    claim = situation.observation.claim
    usage = _usage(stages)
    creates = states.current.phase is StagePhase.STARTING
    workspace_claim, workspace_uid = recorded_workspace(situation, creates=creates)
    return DistillationStatus(
        observed_generation=situation.plan.generation,
        conditions=conditions(assessment),
        stages=stages,
        progress=_progress_text(assessment, records[-1] if records else None),
        workspace_claim=workspace_claim,
        workspace_uid=workspace_uid,
        prunable_folders=prunable_folders(situation, runs),
        workspace_capacity=claim.capacity if claim else None,
        workspace_message=resize_message(claim),
        usage=usage,
        estimate=_estimate(situation, states, report.estimate),
        evaluation=_evaluation(situation, states, usage),
        serving=_serving(assessment, usage),
        refused=situation.refusals,
        history=runs,
        last_handled_retry_at=situation.plan.retry_at or situation.previous.last_handled_retry_at,
        last_handled_retry_rejected=last_handled(situation, _record_of(stages, Stage.GENERATE)),
    )


def _record_of(stages: Sequence[StageStatus], stage: Stage) -> StageStatus | None:
    return next((record for record in stages if record.name is stage), None)


def invalid_status(metadata: Metadata, previous: DistillationStatus, now: datetime, message: str) -> DistillationStatus:
    """The status of a spec that breaks the rules, so that there is no plan. What runs and serves is left alone."""
    summary = Summary(OverallState.STALLED, Reason.INVALID_SPEC, shortened(message, MESSAGE_LIMIT))
    about = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUSPENDED)
    kept = (
        (each.type, each.status, each.reason, each.message) for each in previous.conditions if each.type not in about
    )
    facts = [*overall_facts(summary, serves=False), *kept]
    conditions = dated(facts, previous, metadata.generation, now.replace(microsecond=0))
    return previous.model_copy(update={"observed_generation": metadata.generation, "conditions": conditions})


def _with_progress(situation: Situation, state: StageState, progress: Progress | None) -> StageStatus | None:
    """The stage's record, with the reported progress where it is the stage that runs."""
    running = situation.observation.running_job
    if progress is None or state.record is None or running is None or state.job != running:
        return state.record
    if progress.eta_seconds is None:
        progress = _with_eta(progress, state.record, running, situation.now)
    return state.record.model_copy(update={"progress": progress})


def _kept_records(situation: Situation, states: StageStates) -> tuple[StageStatus, ...]:
    """What other stages did for the same inputs, while rows are asked again, or verify comes first: it counts if the
    inputs stay as they are."""
    shown = {state.planned.stage for state in states.stages}
    recorded = (situation.recorded(planned) for planned in situation.plan.stages if planned.stage not in shown)
    return tuple(record for record in recorded if record)


def _with_eta(progress: Progress, record: StageStatus, job: ObservedJob, now: datetime) -> Progress:
    """An estimate from the speed since the stage's container started: its Job may have waited for long. A later attempt
    resumes where the one before ended, so its speed is not known."""
    started = job.stage_started or record.last_attempt_time
    if record.attempts > 1 or started is None:
        return progress
    remaining = remaining_seconds(progress, 0, (now - started).total_seconds())
    return progress if remaining is None else progress.model_copy(update={"eta_seconds": _rounded(remaining)})


def _rounded(seconds: float) -> int:
    """Seconds, no more exact than the estimate is, so that the status does not change all the time."""
    step = 5 if seconds < 60 else 30 if seconds < 600 else 60
    return round(seconds / step) * step


def _progress_text(assessment: Assessment, record: StageStatus | None) -> str:
    states, stage = assessment.stages, assessment.stages.current.planned.stage
    step = assessment.rollout.canary
    if awaits_promotion(assessment.situation, states) or (step and step.is_paused):
        return "awaiting promotion"
    pinned = assessment.situation.plan.spec.serving.pinned_run
    if not pinned and states.done(Stage.EVALUATE) and not meets_gate(assessment.situation, states):
        return "quality gate failed"
    served = assessment.rollout.phase in (RolloutPhase.OFF, RolloutPhase.SERVING)
    if not served and (states.finished or stage is Stage.VERIFY):
        return "rolling out"
    if states.finished or waits_for_scale_up(states):
        return "done"
    planned = [each.stage for each in assessment.situation.plan.stages]
    text = f"{planned.index(stage) + 1}/{len(planned)} {stage}"
    progress = record.progress if record and record.name is stage else None
    if progress is None or not progress.total:
        return text
    return f"{text} {100 * progress.done // progress.total}%{_remaining_text(progress.eta_seconds)}"


def _remaining_text(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f", {seconds} s left" if seconds < 60 else f", {round(seconds / 60)} min left"


def _usage(records: Iterable[StageStatus]) -> Usage | None:
    usages = [record.usage for record in records if record.usage]
    return sum(usages, Usage()) if usages else None


def _estimate(situation: Situation, states: StageStates, reported: Estimate | None) -> Estimate | None:
    """The estimate in the stage's result, else that of the running stage, else the one known for the same inputs."""
    generate = states.stages[0]
    final = generate.job.result.estimate if generate.job and generate.job.result else None
    same_inputs = situation.recorded(generate.planned) is not None
    return final or reported or (situation.previous.estimate if same_inputs else None)


def _evaluation(situation: Situation, states: StageStates, usage: Usage | None) -> Evaluation | None:
    """The result table of the last finished evaluation, with the student's latency through its server, and what its
    calls cost, once it is verified."""
    table, verification = _judged_table(situation, states), _verification_of_newest(situation, states)
    if table is None:
        return None
    priced = with_call_costs(table, situation.plan.spec, verification, usage)
    return priced.served(verification.latency_seconds) if verification else priced


def _verification_of_newest(situation: Situation, states: StageStates) -> Verification | None:
    verify = states.done(Stage.VERIFY)
    if verify is None or verify.record is None:
        return None
    if situation.plan.earlier(verify.planned) != situation.plan.stages[:-1]:
        return None  # It was the server of another run.
    return verify.record.verification


def _judged_table(situation: Situation, states: StageStates) -> Evaluation | None:
    """The result table with the gate's verdict. Until the newest student is evaluated, both are about an earlier
    one."""
    table = last_evaluation(situation, states)
    if table is None or states.done(Stage.EVALUATE) is None:
        return table
    return table.model_copy(update={"gate": verdict_on_newest(situation, states)})


def _serving(assessment: Assessment, usage: Usage | None) -> ServingStatus | None:
    """The server as it is; its address is known from the moment that it is to be created."""
    situation, rollout, served = assessment.situation, assessment.rollout, served_server(assessment)
    if served is None:
        return None
    deployment = situation.observation.deployment
    seen = deployment if deployment and deployment.ownership is Ownership.OURS else None
    verification = verification_of(assessment, served)
    return ServingStatus(
        url=service_url(situation.plan),
        external_urls=external_urls(situation),
        route=route_status(situation),
        model=names.served_model_name(situation.plan.name),
        train=served.model.train_hash,
        model_path=served.model.model_path,
        model_image=served.model.image,
        image=served.image if seen else None,
        server=_rolled_out(assessment),
        replicas=seen.replicas if seen else 0,
        ready_replicas=seen.ready if seen else 0,
        selector=_selector(situation),
        student_prompt=served.model.student_prompt,
        precision=served.model.precision,
        blocked_since=rollout.blocked_since,
        verification=verification,
        cost=serving_cost(
            call_costs(last_evaluation(situation, assessment.stages), situation.plan.spec, verification, usage)
        ),
        taken_over=True if seen and is_taken_over(assessment, served) else None,
        shared_server=situation.plan.host,
        guests=served_guests(situation, served),
        candidate=_candidate(assessment),
        canary=canary_status(assessment),
        failed_rollout=rollout.failed,
    )


def _selector(situation: Situation) -> str:
    """Of the Pods that `replicas` counts: those of a candidate come on top."""
    beside = candidate_server(situation) is not None
    return (names.stable_selector if beside else names.serving_selector)(situation.plan.server_owner)


def _candidate(assessment: Assessment) -> Candidate | None:
    server, observation = candidate(assessment), assessment.situation.observation
    if server is None:
        return None
    seen = observation.candidate if assessment.rollout.canary else observation.deployment
    pods = seen.ready_pods if seen else ()
    ready = sum((pod.server, pod.train_hash) == server.pods for pod in pods)
    return Candidate(
        train=server.model.train_hash, model_path=server.model.model_path, image=server.image, ready_replicas=ready
    )


def _rolled_out(assessment: Assessment) -> str | None:
    """The server whose Pods have last replaced all others; that which a candidate is to replace is one."""
    rollout, before = assessment.rollout, assessment.situation.previous.serving
    if rollout.canary and not rollout.canary.takes_over:
        return rollout.canary.stable.digest
    if rollout.server and rollout.phase is RolloutPhase.SERVING:
        return rollout.server.digest
    return before.server if before else None
