"""Replies -> kept rows, and rejected rows with their reasons. Held-out rows are never rejected: without an answer they
say why."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_trainer.prompts import TaskPrompt, Turn, Unreadable
from distillery_trainer.records import WHOLE, Example, HeldOutRow, RejectedRow, TrainingRow
from distillery_trainer.teachers.journal import Reply
from distillery_trainer.teachers.retries import Failure


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a row is not kept."""

    reason: str
    """One word for programs, such as bad_json or duplicate."""
    message: str
    """A sentence for people."""


@dataclass(slots=True)
class Judgement:
    """What a reply comes to: an answer, or the reason why there is none."""

    answer: str | None
    reason: str | None = None
    message: str = ""
    worth_another_try: bool = False
    """Whether the teacher may do better when it is told what was wrong."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that is not kept."""

    verdict: Verdict
    unanswered: bool = False
    """Whether the teacher gave no whole, readable and allowed answer; that counts against minSuccessRatio."""
    failure: Failure | None = None
    """The failed call, where there was one."""
    reply: Reply | None = None
    """The teacher's last reply, where there was one."""


def judge(outcome: Reply | Failure, prompt: TaskPrompt, question: str, *, held: bool = False) -> Judgement:
    """Read the answer in a reply, if it is a whole one. `question` is the row's last user message; `held` says that the
    row held the reply already, so that it answers no prompt of ours."""
    if isinstance(outcome, Failure):
        return Judgement(None, outcome.reason, outcome.message)
    ended = outcome.finish_reason == "stop" and not outcome.refusal
    if not ended and (unfinished := _unfinished(outcome)) is not None:
        return unfinished
    read = prompt.read_reply if held else prompt.read_teacher_reply
    answer = read(outcome.content, question)
    if isinstance(answer, Unreadable):
        return Judgement(None, answer.reason, answer.message, worth_another_try=bool(outcome.content.strip()))
    return Judgement(answer)


def _unfinished(reply: Reply) -> Judgement | None:
    """Why a reply is not the whole of an answer."""
    if reply.finish_reason == "content_filter":
        return Judgement(None, "content_filter", "The server's content filter withheld the reply.")
    if reply.finish_reason in ("length", "max_tokens"):
        written = "" if reply.output_tokens is None else f" after {reply.output_tokens:,} tokens"
        message = f"The reply was cut off{written}; raise generation.sampling.maxTokens."
        return Judgement(None, "truncated", message)
    if reply.finish_reason not in WHOLE:
        message = f'The reply did not come to its end (finish_reason "{reply.finish_reason}").'
        return Judgement(None, "truncated", message)
    if reply.refusal and not reply.content.strip():
        return Judgement(None, "refused", f"The teacher refused: {reply.refusal}")
    return None


def training_row(example: Example, turn: Turn, teacher: str) -> TrainingRow:
    """The short prompt and the answer only: the reasoning has done its work."""
    completion = (
        turn.completion if turn.reasoning is None else f"<think>\n{turn.reasoning}\n</think>\n\n{turn.completion}"
    )
    return TrainingRow(
        id=example.id,
        prompt=turn.prompt,
        completion=[{"role": "assistant", "content": completion}],
        teacher=teacher,
    )


def rejected_row(example: Example, split: str, rejection: Rejection) -> RejectedRow:
    """The row with why it was rejected, and what the teacher said."""
    spoken = rejection.reply or rejection.failure
    return RejectedRow(
        split=split,
        id=example.id,
        line=example.line,
        reason=rejection.verdict.reason,
        message=rejection.verdict.message,
        reply=rejection.reply.content if rejection.reply else None,
        requestId=spoken.request_id if spoken else None,
    )


def held_out_row(
    example: Example, judgement: Judgement, reply: Reply | None, prompt: TaskPrompt, *, carved: bool
) -> HeldOutRow:
    """A held-out row with everything that its scoring needs."""
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
