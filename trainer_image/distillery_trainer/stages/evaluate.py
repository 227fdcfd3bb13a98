"""The stage that says what the distillation was worth: teacher, untrained student, distilled student and simple
baselines answer the same held-out rows, and one parser reads all of them.

What is scored is the merged model as it was saved, loaded again. Latencies are measured one call at a time, in this
process and on the stated device; the teacher's are those of its calls in the generate stage. Replies are kept as they
come, so that a stage started again asks no model twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from distillery_api.evaluation import Evaluation
from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.data.records import Gold, HeldOutRow
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.baselines import baselines_answer
from distillery_trainer.evaluation.model_replies import ModelReplies, SystemPrompts
from distillery_trainer.evaluation.pairwise_judge import wins
from distillery_trainer.evaluation.result_table import EvaluationContext, result_table
from distillery_trainer.evaluation.systems import (
    Answer,
    HeldOutRows,
    Reply,
    System,
    held_out_rows,
    read_replies,
    teacher_answers,
)
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import AtomicFile, read_rows, to_line
from distillery_trainer.runtime.library_logging import quiet_libraries
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.student.device import Device, choose_device, is_out_of_memory
from distillery_trainer.student.model_folder import locate, open_folder
from distillery_trainer.tasks import TaskDefinition, task_for
from distillery_trainer.tasks.task_definition import AnswerKind


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Fill the result table. Raises StageError."""
    quiet_libraries()
    generated = config.input_folder(Stage.GENERATE)
    folder = config.stage_folder
    task, device = task_for(config), choose_device()
    rows = held_out_rows([HeldOutRow.read(row) for row in read_rows(generated.test)], task.metric)
    if not rows.rows:
        raise UserError("No held-out row can be scored: none has gold or an answer.", reason=Reason.TOO_FEW_ROWS)
    answers = {System.TEACHER: teacher_answers(task, rows)}
    for name, replies in _models_reply(config, task, rows, device, progress).items():
        answers[name] = read_replies(task, replies, rows)
    answers |= baselines_answer(task, rows, generated.train)
    circumstances = _circumstances(config, answers, rows, device, progress)
    _write_predictions(folder.predictions, rows, answers, circumstances.wins)
    return _result(config, rows, result_table(task, answers, rows, circumstances))


def _models_reply(
    config: RunConfig, task: TaskDefinition, rows: HeldOutRows, device: Device, progress: ProgressReporter
) -> dict[System, list[Reply]]:
    """The base model under both prompts, and the student under the short one."""
    short, elaborate = [row.studentPrompt for row in rows.rows], [row.teacherPrompt for row in rows.rows]
    said = [row.answer for row in rows.rows] if task.answer_kind is AnswerKind.TEXT else ()
    parts = [
        SystemPrompts(System.BASE_TEACHER_PROMPT, elaborate, task.max_tokens),
        SystemPrompts(System.BASE, short, task.student_max_tokens, said),
        SystemPrompts(System.STUDENT, short, task.student_max_tokens, said),
    ]
    if elaborate == short:  # nobody is asked the same twice
        parts = parts[1:]
    merged = config.input_folder(Stage.TRAIN).model
    total = len(parts) * len(short)
    answering = ModelReplies(config.stage_folder, device, lambda done: progress.update(done, total, "answers"))
    with _out_of_memory_explained():
        replies = {
            **answering.replies(parts[:-1], lambda: open_folder(locate(config), config.student.model.uri)),
            **answering.replies(parts[-1:], lambda: open_folder(merged, str(merged))),
        }
    return {System.BASE_TEACHER_PROMPT: replies[System.BASE]} | replies


def _circumstances(
    config: RunConfig,
    answers: dict[System, list[Answer]],
    rows: HeldOutRows,
    device: Device,
    progress: ProgressReporter,
) -> EvaluationContext:
    """What the table needs beside the answers; the judge is asked where there is one."""
    supervised = config.generation.filters.disagrees_with_gold
    judge = config.evaluation.judge
    if judge is None:
        return EvaluationContext(device.name, supervised)
    folder = config.stage_folder.judge_replies
    judged = wins(config, judge, answers, rows, folder=folder, progress=progress)
    return EvaluationContext(device.name, supervised, judge.model, judged)


@contextmanager
def _out_of_memory_explained() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = (
            "The student does not fit into memory, not even for one row at a time. Give the stage more in"
            " evaluation.resources, or choose a smaller student."
        )
        raise UserError(message, reason=Reason.OUT_OF_MEMORY) from error


def _write_predictions(
    path: Path, rows: HeldOutRows, answers: dict[System, list[Answer]], judged: Mapping[System, Sequence[float]]
) -> None:
    """Every contestant's answer to every row, by contestant in the table's order."""
    with AtomicFile(path) as file:
        for name in System:
            for place, given in enumerate(answers.get(name, [])):
                win = judged[name][place] if name in judged else None
                file.write(to_line(_prediction(name, rows.rows[place], rows.known[place], given, win)))


def _prediction(name: System, row: HeldOutRow, known: Gold, given: Answer, win: float | None) -> dict[str, object]:
    return {
        "id": row.id,
        "gold": known,
        "system": name,
        "reply": given.reply.text,
        "answer": given.answer,
        "correct": given.correct,
        "score": round(given.score, 4),
        "win": win,
        "promptTokens": given.reply.prompt_tokens,
        "answerTokens": given.reply.answer_tokens,
    }


# --- the result


def _result(config: RunConfig, rows: HeldOutRows, evaluation: Evaluation) -> StageResult:
    return StageResult(
        stage=Stage.EVALUATE,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=_sentence(rows, evaluation),
        evaluation=evaluation,
        files={Artefact.PREDICTIONS: config.paths.relative(config.stage_folder.predictions)},
    )


def _sentence(rows: HeldOutRows, evaluation: Evaluation) -> str:
    how = "{:.1%}" if not evaluation.is_prose else "{:.3f}"
    named = {"the student": evaluation.student, "the teacher": evaluation.teacher, "the base model": evaluation.base}
    listed = ", ".join(f"{name} {how.format(shown.score)}" for name, shown in named.items() if shown is not None)
    return " ".join([f"{_measure(rows, evaluation)}: {listed}.", *_reservations(rows, evaluation)])


def _measure(rows: HeldOutRows, evaluation: Evaluation) -> str:
    count = f"{evaluation.sample_size:,} held-out rows"
    if rows.by_teacher:
        return f"Agreement with the teacher{' (ROUGE-L)' if evaluation.is_prose else ''} on {count}"
    return f"ROUGE-L on {count}" if evaluation.is_prose else f"Right answers to {count}"


def _reservations(rows: HeldOutRows, evaluation: Evaluation) -> Sequence[str]:
    """What a reader of the figures must know."""
    said = []
    if rows.from_validation:
        said.append("The rows were carved from the validation split.")
    if rows.left_out:
        said.append(f"{rows.left_out:,} further rows have no known answer and are not counted.")
    if evaluation.partly_supervised:
        said.append("Training rows were chosen by their gold, so the student is partly supervised.")
    if len(rows.rows) < scores.SMALL_SAMPLE:
        said.append(f"With fewer than {scores.SMALL_SAMPLE} rows the figures are rough.")
    return said
