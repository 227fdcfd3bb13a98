"""The last finished runs: what each was made of, how good it is, and how its server answered."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from distillery_api.evaluation import Evaluation
from distillery_api.paths import Workspace
from distillery_api.stage import Stage
from distillery_api.status import Run, RunAdapter, StageStatus
from distillery_api.verification import Verification
from distillery_operator.core.assessment import Assessment
from distillery_operator.core.runs import train_hash
from distillery_operator.core.servers import candidate_server, deployed_server, fallback_server
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageStates, last_evaluation, newly_evaluated
from distillery_operator.planning.adapters import planned_adapter
from distillery_operator.planning.plan import Plan

HISTORY_LENGTH = 5
"""Runs that are remembered; those that serve, or may have to again, are remembered in any case."""


_LATER = ("served_time", "verification", "model_image", "hub_revision")
"""What is known of a run only after its evaluation."""


def history(assessment: Assessment) -> tuple[Run, ...]:
    """The runs for the status, newest first."""
    situation, states = assessment.situation, assessment.stages
    runs = _with_newest(situation, states)
    runs = tuple(_published(assessment, _with_verification(assessment, run)) for run in runs)
    kept = runs_in_use(situation)
    return tuple(run for index, run in enumerate(runs) if index < HISTORY_LENGTH or train_hash(run) in kept)


def runs_in_use(situation: Situation) -> frozenset[str]:
    """The trainings whose models serve, or may have to again: nothing of them may be deleted."""
    servers = (deployed_server(situation), fallback_server(situation), candidate_server(situation))
    pinned = situation.plan.spec.serving.pinned_run
    return frozenset({*(server.model.train_hash for server in servers if server), *([pinned] if pinned else ())})


def _with_newest(situation: Situation, states: StageStates) -> tuple[Run, ...]:
    """The remembered runs, with the one that the plan is about as soon as it is evaluated."""
    before, evaluate = situation.previous.history, states.done(Stage.EVALUATE)
    if evaluate is None or evaluate.record is None or evaluate.record.completion_time is None:
        return before
    newest = _run(situation, states, evaluate.record.completion_time)
    same = next((run for run in before if (run.train, run.evaluate) == (newest.train, newest.evaluate)), None)
    if same and newly_evaluated(situation, states) is None:
        return before
    if same:  # It was made again, with the same result.
        newest = newest.model_copy(update={name: getattr(same, name) for name in _LATER})
    return (newest, *(run for run in before if train_hash(run) != newest.train))


def _run(situation: Situation, states: StageStates, completed: datetime) -> Run:
    plan, table = situation.plan, last_evaluation(situation, states)
    train = states.done(Stage.TRAIN)
    return Run(
        completion_time=completed,
        generate=plan.stage(Stage.GENERATE).input_hash,
        train=plan.stage(Stage.TRAIN).input_hash,
        evaluate=plan.stage(Stage.EVALUATE).input_hash,
        model_path=plan.model_path,
        adapter=_adapter(plan),
        evaluation=plan.stage(Stage.EVALUATE).folder,
        student_prompt=plan.student_prompt_path,
        data_card=str(Workspace(Path()).stage(plan.stage(Stage.GENERATE).folder).card),
        model_digest=_model_digest(train.record if train else None),
        precision=table.precision if table else None,
        student=table.student.score if table and table.student else None,
        teacher=table.teacher.score if table and table.teacher else None,
        base=_base_score(table),
    )


def _adapter(plan: Plan) -> RunAdapter | None:
    adapter = planned_adapter(plan.spec, plan.stage(Stage.TRAIN).folder)
    return RunAdapter(path=adapter.path, base=adapter.base, rank=adapter.rank) if adapter else None


def _model_digest(train: StageStatus | None) -> str | None:
    return train.training.model_digest if train and train.training else None


def _base_score(table: Evaluation | None) -> float | None:
    scores = [base.score for base in (table.base, table.base_teacher_prompt) if base] if table else []
    return max(scores, default=None)


def _with_verification(assessment: Assessment, run: Run) -> Run:
    """The run, with how its server answered once that was verified."""
    verification = _newest_verification(assessment)
    wanted = assessment.rollout.wanted
    if wanted is None or verification is None or wanted.model.train_hash != train_hash(run):
        return run
    if run.verification == verification:
        return run
    return run.model_copy(update={"verification": verification, "served_time": assessment.situation.now})


def _published(assessment: Assessment, run: Run) -> Run:
    """The newest run, with where its student is once it is pushed."""
    publish, newest = assessment.stages.done(Stage.PUBLISH), assessment.situation.plan.stage(Stage.TRAIN).input_hash
    if publish is None or publish.record is None or train_hash(run) != newest:
        return run
    pushed = {name: getattr(publish.record, name) for name in ("model_image", "hub_revision")}
    return run.model_copy(update={name: where for name, where in pushed.items() if where is not None})


def _newest_verification(assessment: Assessment) -> Verification | None:
    verify, wanted = assessment.stages.done(Stage.VERIFY), assessment.rollout.wanted
    if verify is None or verify.record is None or verify.record.verification is None or wanted is None:
        return None
    return verify.record.verification.model_copy(update={"server": wanted.digest})
