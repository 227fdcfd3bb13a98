"""The evaluate stage: teacher, base model, student and baselines are evaluated on the same held-out rows, and the same
parser reads all replies. Several processes answer the rows together, where the training has several GPUs.

The student that is evaluated is the saved, merged model, loaded again. Latencies are measured one request at a time, in
this process and on the stated device; the teacher's latency is that of its requests in the generate stage. Replies are
stored as soon as they are generated, so that a restarted stage generates only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from distillery_api.evaluation import SMALL_SAMPLE, Evaluation, LearningCurve, ServingComparison
from distillery_api.formatting import shortened
from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import write_atomically
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.data.rows import Gold, HeldOutRow
from distillery_trainer.evaluation.baselines import learned_rows, score_baselines
from distillery_trainer.evaluation.findings import TrainedOn, train_result, trained_on
from distillery_trainer.evaluation.metrics import breakdown
from distillery_trainer.evaluation.model_replies import ModelReplies
from distillery_trainer.evaluation.model_requests import ModelRequests, model_requests, read_held_out_rows
from distillery_trainer.evaluation.pairwise_judge import wins
from distillery_trainer.evaluation.reply_processes import answer_in_processes
from distillery_trainer.evaluation.result_table import EvaluationContext, result_table
from distillery_trainer.evaluation.serving_student import NotComparable, comparison, serving_replies
from distillery_trainer.evaluation.systems import (
    HeldOutRows,
    ScoredAnswer,
    System,
    SystemReply,
    score_replies,
    score_teacher,
)
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import RowsFile, to_line
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.student.device import Device, choose_device, is_out_of_memory
from distillery_trainer.student.model_card import write_scored_card
from distillery_trainer.tasks import TaskDefinition, task_for

_PROBLEM_LIMIT = 400
"""Bytes."""


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Make the result table. Raises StageError."""
    quiet_libraries()
    generated = config.input_folder(Stage.GENERATE)
    task = task_for(config)
    rows = read_held_out_rows(generated.test, task.metric)
    by_model = model_requests(config, task, rows)
    systems = [system for each in by_model for system in each.systems]
    if config.processes:
        answer_in_processes(config, systems, config.processes, progress)
    device = choose_device()
    answers = {System.TEACHER: score_teacher(task, rows)}
    models = _models(config, rows, device, progress, systems=len(systems))
    all_replies, busy = _model_replies(by_model, models)
    for system, replies in all_replies.items():
        answers[system] = score_replies(task, replies, rows)
    answers |= score_baselines(task, rows, generated.train)
    judged = _judged(config, answers, rows, progress)
    compared = _compared_with_serving(config, task, rows, answers, _models(config, rows, device, progress, systems=1))
    curve = _learning_curve(config, task, rows, answers[System.STUDENT], progress)
    context = _context(config, device, judged, replace(_trained_on(config, task), learning_curve=curve))
    _write_predictions(config.stage_folder.predictions, rows, answers, context.wins)
    _write_breakdown(config.stage_folder.breakdown, task, answers, rows)
    table = result_table(task, answers, rows, context).model_copy(update={"serving_comparison": compared, "busy": busy})
    return _result(config, rows, table)


def _compared_with_serving(
    config: RunConfig,
    task: TaskDefinition,
    rows: HeldOutRows,
    answers: dict[System, list[ScoredAnswer]],
    models: ModelReplies,
) -> ServingComparison | None:
    """The student beside the one that is served, whose answers are added to `answers`; None where there is none."""
    serving = config.serving_student
    if serving is None:
        return None
    try:
        with _out_of_memory_explained():
            replies = serving_replies(config, serving, rows, task, models)
    except NotComparable as error:
        return ServingComparison(hash=serving.hash, problem=shortened(str(error), _PROBLEM_LIMIT))
    answers[System.SERVING] = score_replies(task, replies, rows)
    return comparison(task, serving, answers[System.STUDENT], answers[System.SERVING])


def _model_replies(
    by_model: Sequence[ModelRequests], models: ModelReplies
) -> tuple[dict[System, list[SystemReply]], bool | None]:
    """The replies of the base model under both prompts, and of the student under the student prompt; and whether the
    machine was busy with other things while their latencies were measured."""
    replies = dict[System, list[SystemReply]]()
    with _out_of_memory_explained():
        for each in by_model:
            replies |= models.replies(each.systems, each.open_model)
    return {System.BASE_TEACHER_PROMPT: replies[System.BASE]} | replies, models.is_busy


def _models(
    config: RunConfig, rows: HeldOutRows, device: Device, progress: ProgressReporter, *, systems: int
) -> ModelReplies:
    """Lets the models of so many systems answer the rows, and reports how far that is."""
    total = systems * len(rows.rows)
    return ModelReplies.of(config, device, lambda done: progress.update(done, total, "answers"), progress.alive)


def _context(
    config: RunConfig, device: Device, judged: Mapping[System, Sequence[float]], trained: TrainedOn
) -> EvaluationContext:
    """What the table states beside the scores."""
    judge = config.evaluation.judge
    return EvaluationContext(
        device=device.name,
        precision=device.precision,
        partly_supervised=config.generation.filters.disagrees_with_gold,
        trained_on=trained,
        judge=judge.model if judge else None,
        wins=judged,
    )


def _judged(
    config: RunConfig, answers: dict[System, list[ScoredAnswer]], rows: HeldOutRows, progress: ProgressReporter
) -> Mapping[System, Sequence[float]]:
    """Asks the judge, if there is one."""
    judge = config.evaluation.judge
    folder = config.stage_folder.judge_replies
    return wins(config, judge, answers, rows, folder=folder, progress=progress) if judge else {}


def _learning_curve(
    config: RunConfig,
    task: TaskDefinition,
    rows: HeldOutRows,
    student: Sequence[ScoredAnswer],
    progress: ProgressReporter,
) -> LearningCurve | None:
    """What fewer train rows give; None where it is not asked for."""
    if not config.evaluation.learning_curve:
        return None
    # It trains, and the libraries for that take seconds to load.
    from distillery_trainer.stages.partial_students import PartialStudents

    models = partial(_models, config, rows, choose_device(), progress, systems=1)
    with _out_of_memory_explained():
        return PartialStudents(config, task, rows, models, progress).learning_curve(student)


def _trained_on(config: RunConfig, task: TaskDefinition) -> TrainedOn:
    answers = [row.answer for row in learned_rows(task, config.input_folder(Stage.GENERATE).train)]
    return trained_on(config.training, train_result(config), answers)


@contextmanager
def _out_of_memory_explained() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = (
            "The student does not fit into memory, even for one row at a time. Raise the memory in"
            " evaluation.resources, or choose a smaller student."
        )
        raise UserError(message, reason=Reason.OUT_OF_MEMORY) from error


def _write_predictions(
    path: Path, rows: HeldOutRows, answers: dict[System, list[ScoredAnswer]], judged: Mapping[System, Sequence[float]]
) -> None:
    """The answer of every system to every row, in the order of the table."""
    with RowsFile(path) as file:
        for system in System:
            for index, scored in enumerate(answers.get(system, [])):
                win = judged[system][index] if system in judged else None
                file.write(to_line(_prediction(system, rows.rows[index], rows.references[index], scored, win)))


def _write_breakdown(
    path: Path, task: TaskDefinition, answers: dict[System, list[ScoredAnswer]], rows: HeldOutRows
) -> None:
    if (found := breakdown(task, answers, rows)) is not None:
        write_atomically(path, found.to_json().encode())


def _prediction(
    system: System, row: HeldOutRow, reference: Gold, scored: ScoredAnswer, win: float | None
) -> dict[str, object]:
    return {
        "id": row.id,
        "userMessage": row.studentPrompt[-1]["content"],
        "gold": reference,
        "system": system,
        "reply": scored.reply.text,
        "answer": scored.answer,
        "finished": scored.reply.finished,
        "correct": scored.correct,
        "score": round(scored.score, 4),
        "win": win,
        "promptTokens": scored.reply.prompt_tokens,
        "answerTokens": scored.reply.answer_tokens,
        "reason": scored.reason,
    }


# --- the result


def _result(config: RunConfig, rows: HeldOutRows, evaluation: Evaluation) -> StageResult:
    folder = config.stage_folder
    write_scored_card(config, evaluation)
    files = {
        Artefact.PREDICTIONS: folder.predictions,
        Artefact.BREAKDOWN: folder.breakdown,
        Artefact.MODEL_CARD: folder.model_card,
    }
    return StageResult(
        stage=Stage.EVALUATE,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=_message(rows, evaluation),
        evaluation=evaluation,
        files={name: config.paths.relative(path) for name, path in files.items() if path.exists()},
    )


def _message(rows: HeldOutRows, evaluation: Evaluation) -> str:
    number_format = "{:.1%}" if not evaluation.is_partly_right else "{:.3f}"
    systems = {
        "student": evaluation.student,
        "serving student": evaluation.serving,
        "teacher": evaluation.teacher,
        "base model": evaluation.base,
    }
    listed = ", ".join(
        f"{name} {number_format.format(score.score)}" for name, score in systems.items() if score is not None
    )
    verdict = [evaluation.verdict.message] if evaluation.verdict else []
    return " ".join([f"{_metric(rows, evaluation)}: {listed}.", *verdict, *_caveats(rows, evaluation)])


def _metric(rows: HeldOutRows, evaluation: Evaluation) -> str:
    count = f"{evaluation.sample_size:,} held-out rows"
    if rows.measures_agreement:
        return f"Agreement with the teacher{f' ({evaluation.similarity})' if evaluation.similarity else ''} on {count}"
    return f"{evaluation.similarity or 'Accuracy'} on {count}"


def _caveats(rows: HeldOutRows, evaluation: Evaluation) -> Sequence[str]:
    """What a reader of the scores must know."""
    caveats = []
    if rows.from_validation:
        caveats.append("The rows were taken from the validation split.")
    if rows.without_reference:
        reference = "answer from the teacher" if rows.measures_agreement else "gold"
        caveats.append(f"{rows.without_reference:,} more rows have no {reference} and are not counted.")
    if evaluation.partly_supervised:
        caveats.append("Training rows were selected by their gold, so the student is partly supervised.")
    if len(rows.rows) < SMALL_SAMPLE:
        caveats.append(f"With fewer than {SMALL_SAMPLE} rows, the scores are imprecise.")
    return caveats
