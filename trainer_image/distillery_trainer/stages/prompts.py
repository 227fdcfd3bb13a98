"""`python -m distillery_trainer prompts`: what teacher and student get for one row, by the code of the run itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.row_messages import RowMessages
from distillery_api.run_config import RunConfig
from distillery_api.spec import RationaleUse
from distillery_trainer.generation.model_clients import requested_beside
from distillery_trainer.generation.preflight import IndexedRow, PreparedData, run_preflight
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.tasks import TaskDefinition, task_for
from distillery_trainer.tasks.prompts import rationale_prompt

_HELD_OUT = "test"


def run(config: RunConfig, number: int) -> RowMessages:
    """The messages of a row by its number in the input, from 1. Raises UserError if there is no such row, or if rows
    are invalid."""
    task = task_for(config)
    data = run_preflight(config, task)
    found = next(itertools.islice(data.rows(), number - 1, None), None)
    if found is None:
        message = f"There is no row {number:,}: the sources have {data.row_count:,} rows. Give a number from 1 to that."
        raise UserError(message, reason=Reason.INVALID_DATA)
    held_out = found.split == _HELD_OUT
    # Nothing of a row's answer is known yet; it only stands for the turn that the student learns first.
    student = task.student_messages(found.row) if held_out else task.student_turns(found.row, [""])[0].prompt
    teacher = task.teacher_messages(found.row) if held_out else task.next_request(found.row, [])
    learns_reasoning = config.training.objective.rationales is RationaleUse.AUXILIARY
    return RowMessages(
        row=number,
        rows=data.row_count,
        id=found.row.id,
        split=found.split,
        teacher=tuple(map(dict, teacher or ())),
        parameters=_parameters(config, task, held_out=held_out),
        samples=1 if held_out else config.generation.samples,
        student=tuple(map(dict, student)),
        rationale=() if held_out or not learns_reasoning else tuple(map(dict, rationale_prompt(student))),
        notes=tuple(_notes(config, task, data, found)),
    )


def _parameters(config: RunConfig, task: TaskDefinition, *, held_out: bool) -> dict[str, Any]:
    """Those of one request; a held-out row is asked as if for a single sample."""
    temperature = config.generation.held_out_temperature if held_out else None
    parameters = task.request_parameters() | ({} if temperature is None else {"temperature": temperature})
    return parameters | requested_beside(config)


def _notes(config: RunConfig, task: TaskDefinition, data: PreparedData, found: IndexedRow) -> Iterator[str]:
    row = found.row
    if rejection := data.deduplication.rejection(found.index):
        yield f"The row is rejected as {rejection.reason} before it is sent. {rejection.message}"
    if row.keeps_existing_replies and row.existing_replies[-1] is not None:
        yield "The answer in the row is kept (replies: Keep), so the teacher is not asked for it."
    if found.split != _HELD_OUT and task.next_request(row, [""]) is not None:
        before = "the row's own messages" if row.tools else "the answers to those"
        yield f"The row has {len(row.existing_replies)} turns: each further request has {before} before it."
    if config.generation.redaction is not None:
        yield "Personal data is replaced (generation.redaction)."
