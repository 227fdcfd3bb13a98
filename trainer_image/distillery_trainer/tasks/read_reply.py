"""Reads the answer in a reply, or finds the reason why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distillery_api.formatting import cleaned
from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.finish_reasons import Ending, ending_of
from distillery_trainer.data.rows import Message, Rejection
from distillery_trainer.tasks import AnswerKind, TaskDefinition, Unreadable

_SHORT_ANSWERS = (AnswerKind.LABEL, AnswerKind.LABELS, AnswerKind.NUMBER, AnswerKind.OBJECT, AnswerKind.CALLS)
_LONGEST_ANSWER = dict.fromkeys(_SHORT_ANSWERS, 64 * 1024)
_LONGEST_PROSE = 256 * 1024
"""Characters. While a reply is read, no other row goes on."""
_REFUSAL_LIMIT = 300
"""Bytes of a refusal that a message quotes."""


@dataclass(slots=True)
class ParsedReply:
    """The answer in a reply, or why there is none."""

    outcome: str | Rejection
    can_ask_again: bool = False
    """Whether the teacher may answer better when it is asked again and told what was wrong."""

    @property
    def answer(self) -> str | None:
        """The answer; None if there is none."""
        return self.outcome if isinstance(self.outcome, str) else None

    @property
    def rejection(self) -> Rejection | None:
        """Why there is no answer; None if there is one."""
        return self.outcome if isinstance(self.outcome, Rejection) else None


def read_reply(
    outcome: Reply | Failure,
    task: TaskDefinition,
    row_text: str,
    *,
    existing: bool = False,
    messages: Sequence[Message] = (),
) -> ParsedReply:
    """Read the answer in a complete reply to the request `messages`. `row_text` is the row's last user message. An
    `existing` reply comes from the user's row, and so does not answer the teacher prompt."""
    if isinstance(outcome, Failure):
        return ParsedReply(Rejection(outcome.reason, outcome.message, outcome.transient))
    complete = outcome.finish_reason == "stop" and not outcome.refusal
    if not complete and (incomplete := _incomplete(outcome)) is not None:
        return incomplete
    if (too_long := _too_long(outcome.content, task.answer_kind)) is not None:
        return too_long
    read = task.read_answer if existing else task.read_teacher_answer
    answer = read(outcome.content, row_text)
    if not isinstance(answer, Unreadable):
        answer = task.unsuitable(answer, messages) or answer
    if isinstance(answer, Unreadable):
        rejection = Rejection(answer.reason, answer.message)
        return ParsedReply(rejection, can_ask_again=bool(outcome.content.strip()))
    return ParsedReply(answer)


def _too_long(content: str, kind: AnswerKind) -> ParsedReply | None:
    """Why a reply is not read; None if it is."""
    limit = _LONGEST_ANSWER.get(kind, _LONGEST_PROSE)
    if len(content) <= limit:
        return None
    message = f"The reply has {len(content):,} characters, more than the {limit:,} that are read."
    return _rejected(RejectionReason.TOO_LONG, message)


def _incomplete(reply: Reply) -> ParsedReply | None:
    """Why a reply is not a complete answer; None if it is one after all."""
    ending = ending_of(reply.finish_reason)
    if ending is Ending.WITHHELD:
        return _rejected(RejectionReason.CONTENT_FILTER, "The server's content filter withheld the reply.")
    if ending is Ending.TRUNCATED:
        written = "" if reply.output_tokens is None else f" after {reply.output_tokens:,} tokens"
        message = f"The reply was cut off{written}; raise generation.sampling.maxTokens."
        return _rejected(RejectionReason.TRUNCATED, message)
    if ending is not Ending.COMPLETE:
        message = f'The reply is incomplete (finish_reason "{reply.finish_reason}").'
        return _rejected(RejectionReason.TRUNCATED, message)
    if reply.refusal and not reply.content.strip():
        return _rejected(RejectionReason.REFUSED, f"The teacher refused: {cleaned(reply.refusal, _REFUSAL_LIMIT)}")
    return None


def _rejected(reason: RejectionReason, message: str) -> ParsedReply:
    return ParsedReply(Rejection(reason, message))
