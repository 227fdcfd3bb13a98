"""Replies -> kept rows, and rejected rows with their reasons. Held-out rows are never rejected: without an answer they
say why."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_trainer.prompts import TaskPrompt, Unreadable
from distillery_trainer.records import Example, HeldOutRow, RejectedRow, TrainingRow
from distillery_trainer.teachers.journal import Reply
from distillery_trainer.teachers.teacher import Failure


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a reply comes to: an answer, or the reason why there is none."""

    answer: str | None
    reason: str | None = None
    message: str = ""


def judge(outcome: Reply | Failure, prompt: TaskPrompt, question: str) -> Judgement:
    """Read the answer in a reply, if it is a whole one."""
    if isinstance(outcome, Failure):
        return Judgement(None, outcome.reason, outcome.message)
    if outcome.finish_reason == "content_filter":
        return Judgement(None, "content_filter", "The server's content filter withheld the reply.")
    if outcome.finish_reason == "length":
        written = "" if outcome.output_tokens is None else f" after {outcome.output_tokens:,} tokens"
        message = f"The reply was cut off{written}; raise generation.sampling.maxTokens."
        return Judgement(None, "truncated", message)
    if outcome.refusal and not outcome.content.strip():
        return Judgement(None, "refused", f"The teacher refused: {outcome.refusal}")
    answer = prompt.read_reply(outcome.content, question)
    if isinstance(answer, Unreadable):
        return Judgement(None, answer.reason, answer.message)
    return Judgement(answer)


def training_row(example: Example, answer: str, prompt: TaskPrompt, teacher: str) -> TrainingRow:
    """The short prompt and the answer only: the reasoning has done its work."""
    return TrainingRow(
        id=example.id,
        prompt=prompt.student_messages(example),
        completion=[{"role": "assistant", "content": prompt.completion(answer)}],
        teacher=teacher,
    )


def rejected_row(example: Example, judgement: Judgement, outcome: Reply | Failure) -> RejectedRow:
    """The row with why it was rejected, and what the teacher said."""
    return RejectedRow(
        split=example.split,
        id=example.id,
        line=example.line,
        reason=judgement.reason or "",
        message=judgement.message,
        reply=outcome.content if isinstance(outcome, Reply) else None,
        requestId=outcome.request_id,
    )


def held_out_row(
    example: Example, judgement: Judgement, outcome: Reply | Failure, prompt: TaskPrompt, *, carved: bool
) -> HeldOutRow:
    """A held-out row with everything that its scoring needs."""
    reply = outcome if isinstance(outcome, Reply) else None
    return HeldOutRow(
        id=example.id,
        short=prompt.student_messages(example),
        elaborate=prompt.teacher_messages(example),
        gold=example.gold,
        reply=reply.content if reply else None,
        answer=judgement.answer,
        reason=judgement.reason,
        inputTokens=reply.input_tokens if reply else None,
        outputTokens=reply.output_tokens if reply else None,
        latencySeconds=reply.latency_seconds if reply else None,
        carved=carved,
    )
