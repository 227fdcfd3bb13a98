"""The systems of the result table, the rows that they answer, and how their replies are scored.

No model is needed here: replies come in as text, the same parser reads all of them, and a reply that is missing, cut
off or unreadable scores 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pydantic import ConfigDict

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.rows import Gold, HeldOutRow
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.row_errors import ENDS_STAGE, RowErrors
from distillery_trainer.tasks import TaskDefinition, Unreadable

AGREEMENT = "agreement"
"""Name of the metric if the rows have no gold and the teacher's answers are the references."""


class System(StrEnum):
    """The systems of the result table, in its order."""

    TEACHER = "teacher"
    BASE_TEACHER_PROMPT = "baseTeacherPrompt"
    BASE = "base"
    STUDENT = "student"
    SERVING = "serving"
    """The student that is served, of an earlier run."""
    MAJORITY = "majority"
    SHALLOW = "shallow"
    LEAD = "lead"
    COPIED = "copied"
    """The row itself: its last user message."""

    @property
    def is_language_model(self) -> bool:
        """Whether the system writes replies; a baseline does not."""
        return self not in (System.MAJORITY, System.SHALLOW, System.LEAD, System.COPIED)


@dataclass(frozen=True, slots=True)
class HeldOutRows:
    """The rows that every system answers, and the references that answers are compared with."""

    metric: str
    """The task's own if the rows have gold; else agreement with the teacher."""
    rows: Sequence[HeldOutRow]
    references: Sequence[Gold]
    """For each row its gold; without any gold, the teacher's answer."""
    without_reference: int
    """Number of rows that are left out because they have no reference."""

    @property
    def measures_agreement(self) -> bool:
        """Whether the teacher's answers are the references."""
        return self.metric == AGREEMENT

    @property
    def from_validation(self) -> bool:
        """Whether the rows were taken from the validation split."""
        return any(row.fromValidation for row in self.rows)

    @property
    def row_texts(self) -> list[str]:
        """The last user message of each row; for a summary, its source."""
        return [row.studentPrompt[-1]["content"] for row in self.rows]


def held_out_rows(rows: Sequence[HeldOutRow], metric: str) -> HeldOutRows:
    """The rows to evaluate on: those with gold; if there are none, those that the teacher answered."""
    with_gold = [row for row in rows if row.gold is not None]
    if with_gold:
        references = [row.gold for row in with_gold if row.gold is not None]
        return HeldOutRows(metric, with_gold, references, len(rows) - len(with_gold))
    answered = [row for row in rows if row.answer is not None]
    teacher_answers: list[Gold] = [row.answer for row in answered if row.answer is not None]
    return HeldOutRows(AGREEMENT, answered, teacher_answers, len(rows) - len(answered))


@dataclass(frozen=True, slots=True)
class SystemReply:
    """The reply of one system to one row. Its fields are the keys of the stage's reply files."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    text: str | None
    """None without a reply."""
    finished: bool = True
    """False if the reply was cut off at the maximum length."""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    latency_seconds: float | None = None
    other_load: float | None = None
    """What other processes used of the machine when the latency was measured, as a share of its CPUs; None where that
    is not known."""
    teacher_loss: float | None = None
    """Sum of the negative log-likelihoods (nats) of the tokens of the teacher's reply; None if not measured."""
    teacher_tokens: int = 0
    """The number of those tokens."""


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """The answer that was read in a reply, and its score."""

    reply: SystemReply
    answer: str | None
    """None without a readable answer."""
    score: float
    """From 0 to 1; 1 is correct."""
    reason: RejectionReason | None = None
    """Why there is no answer: the reply was cut off, or says none, or could not be scored (internal error). None also
    where there is no reply."""

    @property
    def correct(self) -> bool:
        """Whether the answer is correct; for prose, whether it is the reference word for word."""
        return self.score == 1


def score_replies(task: TaskDefinition, replies: Sequence[SystemReply], rows: HeldOutRows) -> list[ScoredAnswer]:
    """Read and score one reply for each row. Raises UserError where none can be scored."""
    texts = rows.row_texts
    return _each(
        rows,
        replies,
        lambda row, reply: _scored(task, reply, *_read_answer(task, reply, texts[row]), rows.references[row]),
    )


def _each(
    rows: HeldOutRows, replies: Sequence[SystemReply], score: Callable[[int, SystemReply], ScoredAnswer]
) -> list[ScoredAnswer]:
    """The scores of all rows. One at which this software fails is a wrong answer, and logged."""
    errors = RowErrors()
    scored = []
    for row, reply in enumerate(replies):
        try:
            scored.append(score(row, reply))
        except ENDS_STAGE:
            raise
        except Exception as error:  # noqa: BLE001 - it is about this row alone
            last = errors.message(rows.rows[row].id, error)
            scored.append(ScoredAnswer(reply, None, 0.0, RejectionReason.INTERNAL_ERROR))
    if errors.count and errors.count == len(replies):
        raise UserError(f"No reply to any row could be scored. {last}", reason=Reason.EVALUATION_FAILED)
    return scored


def _read_answer(task: TaskDefinition, reply: SystemReply, row_text: str) -> tuple[str | None, RejectionReason | None]:
    """The answer in a reply, or why there is none."""
    if reply.text is None:
        return None, None
    if not reply.finished:
        return None, RejectionReason.TRUNCATED
    answer = task.read_answer(reply.text, row_text)
    return (None, answer.reason) if isinstance(answer, Unreadable) else (answer, None)


def _scored(
    task: TaskDefinition, reply: SystemReply, answer: str | None, reason: RejectionReason | None, reference: Gold
) -> ScoredAnswer:
    return ScoredAnswer(reply, answer, 0.0 if answer is None else task.score(answer, reference), reason)


def score_teacher(task: TaskDefinition, rows: HeldOutRows) -> list[ScoredAnswer]:
    """Score the teacher's replies of the generate stage, as they were read there."""
    replies = [_teacher_reply(row) for row in rows.rows]
    return _each(
        rows,
        replies,
        lambda row, reply: _scored(task, reply, rows.rows[row].answer, rows.rows[row].reason, rows.references[row]),
    )


def _teacher_reply(row: HeldOutRow) -> SystemReply:
    return SystemReply(row.reply, row.answer is not None, row.inputTokens, row.outputTokens, row.latencySeconds)


def score_baseline(task: TaskDefinition, answers: Sequence[str], rows: HeldOutRows) -> list[ScoredAnswer]:
    """Score the answers of a baseline, which writes no replies."""
    replies = [SystemReply(None)] * len(answers)
    return _each(rows, replies, lambda row, reply: _scored(task, reply, answers[row], None, rows.references[row]))
