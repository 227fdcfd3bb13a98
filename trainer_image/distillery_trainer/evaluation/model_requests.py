"""The held-out rows, and what the models of the evaluate stage are asked: the same in each of its processes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_trainer.data.rows import HeldOutRow, Message
from distillery_trainer.evaluation.systems import HeldOutRows, System, held_out_rows
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import read_rows
from distillery_trainer.student.model_folder import ModelFolder, locate, open_folder, read_description
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.tasks.task_definition import AnswerKind


@dataclass(frozen=True)
class SystemRequests:
    """The requests to one system that is a model of this stage."""

    system: System
    prompts: Sequence[list[Message]]
    """One for each row."""
    max_tokens: int
    """Maximum length of a reply."""
    teacher_replies: Sequence[str | None] = ()
    """For each row the teacher's reply, whose likelihood is measured; () to measure none."""
    variant: str = ""
    """Which model it is, where one system may be another model later: its replies are stored by this, too."""

    @property
    def stored_as(self) -> str:
        """The name under which its replies are stored."""
        return f"{self.system}-{self.variant}" if self.variant else str(self.system)


class ModelRequests(NamedTuple):
    """The requests to systems that share a model."""

    systems: Sequence[SystemRequests]
    open_model: Callable[[], ModelFolder]


def read_held_out_rows(path: Path, metric: str) -> HeldOutRows:
    """The rows of the test split. Raises UserError where none can be scored."""
    found, missing = [], Counter[str]()
    for row in read_rows(path):
        try:
            found.append(HeldOutRow.read(row))
        except KeyError as error:
            missing[str(error)] += 1
    for key, count in missing.items():
        sys.stderr.write(f"{path}: {count:,} rows without {key} are left out.\n")
    rows = held_out_rows(found, metric)
    if not rows.rows:
        raise UserError("No held-out row can be scored: none has gold or an answer.", reason=Reason.TOO_FEW_ROWS)
    return rows


def model_requests(config: RunConfig, task: TaskDefinition, rows: HeldOutRows) -> tuple[ModelRequests, ModelRequests]:
    """The requests to the base model, under both prompts, and to the student."""
    student_prompts = [row.studentPrompt for row in rows.rows]
    teacher_prompts = [row.teacherPrompt for row in rows.rows]
    teacher_replies = [row.answer for row in rows.rows] if task.answer_kind is AnswerKind.TURN else ()
    base = [SystemRequests(System.BASE, student_prompts, task.student_max_tokens, teacher_replies)]
    # With equal prompts, the base model's replies count for both of its lines.
    if teacher_prompts != student_prompts:
        base.insert(0, SystemRequests(System.BASE_TEACHER_PROMPT, teacher_prompts, task.max_tokens))
    student = SystemRequests(System.STUDENT, student_prompts, task.student_max_tokens, teacher_replies)
    merged = config.input_folder(Stage.TRAIN).model
    return (
        ModelRequests(base, lambda: _open_base(config, merged)),
        ModelRequests([student], lambda: open_folder(merged, str(merged))),
    )


def _open_base(config: RunConfig, student: Path) -> ModelFolder:
    """The base model, which reads every prompt as the student does: with the chat template that was saved with it."""
    template = read_description(student, str(student)).tokenizer.chat_template
    return open_folder(locate(config), config.student.model.uri, lambda _: str(template))
