"""The verify stage: the served student is asked rows of the evaluation, one at a time, and must answer them as it did
there. What reaches a user is then what was measured: model, prompt, template, sampling and precision alike. Where it
answers one of them otherwise, more rows say whether that was chance.

The latency is that of these requests, and of some more of them up to TIMED_CALLS.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import mean, median

from distillery_api.formatting import cleaned
from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.baked_prompt import NoTemplate, read_prompt
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_api.verification import BUSY_LOAD, Verification
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.runtime.errors import PartialResult, UserError
from distillery_trainer.runtime.files import AtomicFile, to_line
from distillery_trainer.runtime.machine_load import other_load
from distillery_trainer.runtime.server_key import server_key
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import task_for
from distillery_trainer.tasks.task_definition import AnswerKind
from distillery_trainer.verification.comparison import alike, required_share
from distillery_trainer.verification.evaluated_rows import (
    VERIFIED_ROWS,
    EvaluatedRow,
    evaluated_rows,
    rows_to_ask,
    without_prompt,
)
from distillery_trainer.verification.loaded_adapter import wait_for_adapter
from distillery_trainer.verification.measurement import measure
from distillery_trainer.verification.served_student import ServedReply, ServedStudent

TIMED_CALLS = 20
"""Requests whose median is the latency. Some rows are asked twice for it."""
MAX_TIMING_SECONDS = 120.0
"""After this time, no row is asked twice."""
_PAUSE_SECONDS = 0.05
"""Before each request, so that the load is that of others and not of the reply before."""
_SHOWN_BYTES = 80
_MESSAGE_BYTES = 400


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """A row, and how the served student replied to it."""

    row: EvaluatedRow
    served: ServedReply
    alike: bool
    """Whether it replied as in the evaluation."""


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Ask the served student. Raises StageError."""
    task = task_for(config)
    rows = _rows(config)
    student = ServedStudent(
        config.server_url or "",
        config.name,
        task.student_max_tokens,
        server_key(),
        picture_url=PictureFiles(config.paths.pictures).data_url,
    )
    if config.served_adapter:
        wait_for_adapter(student, config.served_adapter, progress)
    replies, load = _replies(student, rows[:VERIFIED_ROWS], progress)
    answers = _compared(task.answer_kind, rows, replies[:VERIFIED_ROWS])
    if _may_be_chance(answers, len(rows), required_share(task.answer_kind)):
        more = rows[VERIFIED_ROWS:]
        answers += _compared(task.answer_kind, more, [student.ask(row.messages) for row in more])
    _write(config, answers)
    verification = _verification(task.answer_kind, answers, replies, load)
    if verification.is_alike_enough:
        measured = measure(student, rows[:VERIFIED_ROWS], replies)
        verification = verification.model_copy(update={"measurement": measured})
    return _result(config, answers, verification)


def _may_be_chance(answers: Sequence[ServedAnswer], rows: int, required: float) -> bool:
    """Whether too few replies are alike, and enough would be if all further ones of `rows` rows were."""
    different = sum(not answer.alike for answer in answers)
    return len(answers) - different < required * len(answers) and rows - different >= required * rows


def _compared(kind: AnswerKind, rows: Sequence[EvaluatedRow], replies: Sequence[ServedReply]) -> list[ServedAnswer]:
    """The first rows with their replies."""
    return [
        ServedAnswer(row, served, served.text is not None and alike(kind, row.reply, served.text))
        for row, served in zip(rows, replies, strict=False)
    ]


def _rows(config: RunConfig) -> list[EvaluatedRow]:
    held_out, predictions = config.input_folder(Stage.GENERATE).test, config.input_folder(Stage.EVALUATE).predictions
    try:
        rows = rows_to_ask(evaluated_rows(held_out, predictions))
        if config.bakes_prompt:
            prompt = read_prompt(config.input_folder(Stage.GENERATE).student_prompt)
            rows = [without_prompt(row, prompt) for row in rows]
    except (OSError, ValueError, LookupError, TypeError, NoTemplate) as error:
        message = f"The evaluation that the student's server is compared with cannot be read: {error}"
        raise UserError(cleaned(message, _MESSAGE_BYTES), reason=Reason.VERIFICATION_FAILED) from error
    if not rows:
        message = f"The evaluation holds no reply of the student that can be read ({predictions})."
        raise UserError(message, reason=Reason.VERIFICATION_FAILED)
    return rows


def _replies(
    student: ServedStudent, rows: Sequence[EvaluatedRow], progress: ProgressReporter
) -> tuple[list[ServedReply], list[float]]:
    """The replies to all rows, and again to the first of them; and the loads of the machine before the requests."""
    started, replies, loads = time.monotonic(), [], []
    for number, row in enumerate(islice(cycle(rows), TIMED_CALLS)):
        if number >= len(rows) and time.monotonic() - started > MAX_TIMING_SECONDS:
            break
        time.sleep(_PAUSE_SECONDS)
        loads += [load] if (load := other_load()) is not None else []
        replies.append(student.ask(row.messages))
        progress.update(number + 1, TIMED_CALLS, "requests")
    return replies, loads


def _verification(
    kind: AnswerKind, answers: Sequence[ServedAnswer], replies: Sequence[ServedReply], loads: Sequence[float]
) -> Verification:
    load = round(mean(loads), 2) if loads else None
    return Verification(
        rows=len(answers),
        alike=sum(answer.alike for answer in answers),
        required_share=required_share(kind),
        latency_seconds=round(median(reply.seconds for reply in replies), 4),
        calls=len(replies),
        other_load=load,
        busy=load is not None and load >= BUSY_LOAD,
    )


def _write(config: RunConfig, answers: Sequence[ServedAnswer]) -> None:
    """What was asked, and what came back, for a person who has to find out why they differ."""
    with AtomicFile(config.stage_folder.served_replies) as file:
        for answer in answers:
            file.write(
                to_line(
                    {
                        "id": answer.row.id,
                        "evaluated": answer.row.reply,
                        "served": answer.served.text,
                        "problem": answer.served.problem or None,
                        "alike": answer.alike,
                        "latencySeconds": round(answer.served.seconds, 4),
                    }
                )
            )


def _result(config: RunConfig, answers: Sequence[ServedAnswer], verification: Verification) -> StageResult:
    files: dict[str, str] = {Artefact.SERVED_REPLIES: config.paths.relative(config.stage_folder.served_replies)}
    if not verification.is_alike_enough:
        message = _difference(answers, files[Artefact.SERVED_REPLIES])
        raise UserError(message, reason=Reason.VERIFICATION_FAILED, partial_result=PartialResult(files=files))
    return StageResult(
        stage=Stage.VERIFY,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=verification.sentence(),
        verification=verification,
        files=files,
    )


def _difference(answers: Sequence[ServedAnswer], path: str) -> str:
    """How many rows were answered otherwise, with the first of them."""
    different = [answer for answer in answers if not answer.alike]
    row, served = different[0].row, different[0].served
    got = served.problem if served.text is None else _quoted(served.text)
    return (
        f"The served student answered {len(different)} of {len(answers)} rows otherwise than in the evaluation."
        f" {row.id}, in the evaluation: {_quoted(row.reply)}; from its server: {got}. All of them: {path}"
    )


def _quoted(text: str) -> str:
    return f'"{cleaned(text, _SHOWN_BYTES)}"'
