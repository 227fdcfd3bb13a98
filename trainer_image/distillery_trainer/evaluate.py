"""The stage that says what the distillation was worth: teacher, untrained student, distilled student and two simple
baselines answer the same held-out rows, and one parser reads all of them.

What is scored is the merged model as it was saved, loaded again. Latencies are measured one call at a time, in this
process and on the stated device; the teacher's are those of its calls in the generate stage. Replies are kept as they
come, so that a stage started again asks no model twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distillery_api.paths import StageFolder, Workspace
from distillery_api.result import Evaluation, Reason, Stage, StageResult, StageState
from distillery_api.run import RunConfig
from distillery_trainer.errors import UserError
from distillery_trainer.progress import ProgressReporter
from distillery_trainer.prompts import TaskPrompt, for_task
from distillery_trainer.quiet import quiet_libraries
from distillery_trainer.records import AtomicFile, HeldOutRow, read_rows, to_line
from distillery_trainer.scoring import contestants, scores
from distillery_trainer.scoring.answering import Answering, Part
from distillery_trainer.scoring.contestants import Answer, Contestant, HeldOut, Reply
from distillery_trainer.student.device import Device, choose_device, is_out_of_memory
from distillery_trainer.student.model import locate, open_folder


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Fill the result table. Raises StageError."""
    quiet_libraries()
    workspace = Workspace(Path(config.workspace))
    generated = workspace.stage(config.inputs[Stage.GENERATE])
    folder = workspace.stage(config.folder)
    rows = contestants.held_out([HeldOutRow(**row) for row in read_rows(generated.test)])
    if not rows.rows:
        raise UserError("No held-out row can be scored: none has gold or an answer.", reason=Reason.TOO_FEW_ROWS)
    prompt, device = for_task(config), choose_device()
    answers = _baselines_answer(prompt, rows, generated)
    for name, replies in _models_reply(config, prompt, rows, device, progress).items():
        answers[name] = contestants.read(prompt, replies, rows)
    _write_predictions(folder.predictions, rows, answers)
    return _result(config, rows, contestants.table(prompt, answers, rows, config.labels, device.name))


def _models_reply(
    config: RunConfig, prompt: TaskPrompt, rows: HeldOut, device: Device, progress: ProgressReporter
) -> dict[Contestant, list[Reply]]:
    """The base model under both prompts, and the student under the short one."""
    workspace = Workspace(Path(config.workspace))
    short = [row.short for row in rows.rows]
    elaborate = Part(Contestant.BASE_ELABORATE, [row.elaborate for row in rows.rows], prompt.max_tokens)
    base = Part(Contestant.BASE, short, prompt.student_max_tokens)
    student = Part(Contestant.STUDENT, short, prompt.student_max_tokens)
    merged = workspace.stage(config.inputs[Stage.TRAIN]).model
    total = 3 * len(short)
    answering = Answering(
        workspace.stage(config.folder).path, device, lambda done: progress.update(done, total, "answers")
    )
    with _out_of_memory_explained():
        return {
            **answering.replies([elaborate, base], lambda: open_folder(locate(config), config.student.model.uri)),
            **answering.replies([student], lambda: open_folder(merged, str(merged))),
        }


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


def _baselines_answer(prompt: TaskPrompt, rows: HeldOut, generated: StageFolder) -> dict[Contestant, list[Answer]]:
    """The teacher, whose replies are there already, and what takes no language model."""
    learnt = list(read_rows(generated.train))
    texts = [row["prompt"][-1]["content"] for row in learnt]
    labels = [row["completion"][-1]["content"] for row in learnt]
    unseen = [row.short[-1]["content"] for row in rows.rows]
    majority = [scores.majority(labels)] * len(unseen)
    return {
        Contestant.TEACHER: contestants.teacher_answers(prompt, rows),
        Contestant.MAJORITY: contestants.baseline_answers(prompt, majority, rows),
        Contestant.SHALLOW: contestants.baseline_answers(prompt, scores.shallow_answers(texts, labels, unseen), rows),
    }


def _write_predictions(path: Path, rows: HeldOut, answers: dict[Contestant, list[Answer]]) -> None:
    """Every contestant's answer to every row, by contestant in the table's order."""
    with AtomicFile(path) as file:
        for name in Contestant:
            for row, known, given in zip(rows.rows, rows.known, answers[name], strict=True):
                file.write(to_line(_prediction(name, row, known, given)))


def _prediction(name: Contestant, row: HeldOutRow, known: str | list[str], given: Answer) -> dict[str, object]:
    return {
        "id": row.id,
        "gold": known,
        "contestant": name,
        "reply": given.reply.text,
        "answer": given.answer,
        "correct": given.correct,
        "promptTokens": given.reply.prompt_tokens,
        "answerTokens": given.reply.answer_tokens,
    }


# --- the result


def _result(config: RunConfig, rows: HeldOut, evaluation: Evaluation) -> StageResult:
    return StageResult(
        stage=Stage.EVALUATE,
        folder=config.folder,
        state=StageState.DONE,
        message=_sentence(rows, evaluation),
        evaluation=evaluation,
        files={"predictions": f"{config.folder}/predictions.jsonl"},
    )


def _sentence(rows: HeldOut, evaluation: Evaluation) -> str:
    shares = {
        "the student": evaluation.student,
        "the teacher": evaluation.teacher,
        "the base model": evaluation.base,
    }
    listed = ", ".join(f"{name} {shown.score:.1%}" for name, shown in shares.items() if shown is not None)
    count = f"{evaluation.sample_size:,} held-out rows"
    what = f"Agreement with the teacher on {count}" if rows.metric == "agreement" else f"Right answers to {count}"
    return " ".join([f"{what}: {listed}.", *_reservations(rows)])


def _reservations(rows: HeldOut) -> Sequence[str]:
    """What a reader of the figures must know."""
    said = []
    if rows.carved:
        said.append("The rows were carved from the validation split.")
    if rows.left_out:
        said.append(f"{rows.left_out:,} further rows have no known answer and are not counted.")
    if len(rows.rows) < scores.SMALL_SAMPLE:
        said.append(f"With fewer than {scores.SMALL_SAMPLE} rows the figures are rough.")
    return said
