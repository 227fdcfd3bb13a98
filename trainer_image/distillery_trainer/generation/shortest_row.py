"""Whether the student can be trained on any row at all: if the shortest one is too long for it, no row is paid for."""

from __future__ import annotations

import json

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.data.tool_messages import text_of
from distillery_trainer.generation.student_check import NotChecked, run_check
from distillery_trainer.student.checked_student import CheckedStudent
from distillery_trainer.tasks import TaskDefinition

_CHECK = "distillery_trainer.student.length_check"
_FEWEST_BYTES = 2
"""Bytes of a token in texts of few; a row with less than that is taken to be short enough, without a look."""


def first_turn_length(row: Row) -> int:
    """Characters up to the first answer, which every row that is trained on has at least."""
    return sum(len(text_of(message)) for message in _first_turn(row.messages))


def check_shortest_row(config: RunConfig, task: TaskDefinition, student: CheckedStudent | str, shortest: Row) -> None:
    """Raises UserError if even this row is too long for the student."""
    if isinstance(student, str):
        return
    prompt = _first_turn(task.student_messages(shortest))
    limit = min(config.training.max_length, student.positions or config.training.max_length)
    if sum(len(text_of(message).encode()) for message in prompt) < _FEWEST_BYTES * limit:
        return
    described = {"config": config.model_dump(mode="json", by_alias=True, exclude_none=True), "prompt": prompt}
    try:
        run_check(config, _CHECK, json.dumps(described))
    except NotChecked:
        return  # the train stage says it


def _first_turn(messages: list[Message]) -> list[Message]:
    end = next((number for number, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    return messages[:end]
