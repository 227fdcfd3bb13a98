"""Who stands in the result table, and what each answered.

No model is needed here: replies come in as text, the same parser reads all of them, and a reply that is missing, cut
off or unreadable is worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from distillery_trainer.data.records import Gold, HeldOutRow
from distillery_trainer.tasks import TaskDefinition, Unreadable

AGREEMENT = "agreement"
"""The metric's name where the teacher's answers are all that is known."""


class System(StrEnum):
    """The rows of the table, in order."""

    TEACHER = "teacher"
    BASE_TEACHER_PROMPT = "baseTeacherPrompt"
    BASE = "base"
    STUDENT = "student"
    MAJORITY = "majority"
    SHALLOW = "shallow"
    LEAD = "lead"

    @property
    def writes(self) -> bool:
        """Whether it is a language model; else it takes none, and there is no reply to read."""
        return self not in (System.MAJORITY, System.SHALLOW, System.LEAD)


@dataclass(frozen=True, slots=True)
class HeldOutRows:
    """The rows that everybody answers, and what their answers are held against."""

    metric: str
    """The task's own where the rows have gold; agreement (with the teacher) where they have none."""
    rows: Sequence[HeldOutRow]
    known: Sequence[Gold]
    """For each row its gold, or the teacher's answer."""
    left_out: int
    """Rows that nobody can be measured on: without gold beside rows with it, or not answered by the teacher either."""

    @property
    def by_teacher(self) -> bool:
        """Whether the teacher's answers are all that is known."""
        return self.metric == AGREEMENT

    @property
    def from_validation(self) -> bool:
        """Whether the rows were taken from the validation split."""
        return any(row.fromValidation for row in self.rows)

    @property
    def questions(self) -> list[str]:
        """Each row's last user message; of a summary, its source."""
        return [row.studentPrompt[-1]["content"] for row in self.rows]


def held_out_rows(rows: Sequence[HeldOutRow], metric: str) -> HeldOutRows:
    """The rows to measure on: those with gold, or, where there are none, those that the teacher answered."""
    with_gold = [row for row in rows if row.gold is not None]
    if with_gold:
        known = [row.gold for row in with_gold if row.gold is not None]
        return HeldOutRows(metric, with_gold, known, len(rows) - len(with_gold))
    answered = [row for row in rows if row.answer is not None]
    known_answers: list[Gold] = [row.answer for row in answered if row.answer is not None]
    return HeldOutRows(AGREEMENT, answered, known_answers, len(rows) - len(answered))


@dataclass(frozen=True, slots=True)
class Reply:
    """What one contestant said to one row."""

    text: str | None
    """None where there is none."""
    finished: bool = True
    """False where the reply was cut off at its limit."""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    latency_seconds: float | None = None
    teacher_loss: float | None = None
    """Sum over the tokens of the teacher's reply of their negative log-likelihoods, in nats, where it was measured."""
    teacher_tokens: int = 0
    """The number of those tokens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as it was read and judged."""

    reply: Reply
    answer: str | None
    """None where there is no readable one."""
    score: float
    """From 0 to 1; 1 is right."""

    @property
    def correct(self) -> bool:
        """Whether it is right, or is the very text that it is held against."""
        return self.score == 1


def read_replies(task: TaskDefinition, replies: Sequence[Reply], rows: HeldOutRows) -> list[Answer]:
    """Read and judge replies, one for each row."""
    return [
        _scored(task, reply, _readable(task, reply, question), known)
        for reply, question, known in zip(replies, rows.questions, rows.known, strict=True)
    ]


def _readable(task: TaskDefinition, reply: Reply, question: str) -> str | None:
    if reply.text is None or not reply.finished:
        return None
    answer = task.read_answer(reply.text, question)
    return None if isinstance(answer, Unreadable) else answer


def _scored(task: TaskDefinition, reply: Reply, answer: str | None, known: Gold) -> Answer:
    return Answer(reply, answer, 0.0 if answer is None else task.score(answer, known))


def teacher_answers(task: TaskDefinition, rows: HeldOutRows) -> list[Answer]:
    """What the teacher said in the generate stage, as it was read there."""
    return [
        _scored(
            task,
            Reply(row.reply, row.answer is not None, row.inputTokens, row.outputTokens, row.latencySeconds),
            row.answer,
            known,
        )
        for row, known in zip(rows.rows, rows.known, strict=True)
    ]


def baseline_answers(task: TaskDefinition, guesses: Sequence[str], rows: HeldOutRows) -> list[Answer]:
    """The guesses of a baseline that writes no text."""
    return [_scored(task, Reply(None), guess, known) for guess, known in zip(guesses, rows.known, strict=True)]
