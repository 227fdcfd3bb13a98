"""From a reply to its answer, or to the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.records import WHOLE, Rejection
from distillery_trainer.tasks import TaskDefinition, Unreadable


@dataclass(slots=True)
class ParsedReply:
    """What a reply comes to: an answer, or why there is none."""

    outcome: str | Rejection
    worth_another_try: bool = False
    """Whether the teacher may do better when it is told what was wrong."""

    @property
    def answer(self) -> str | None:
        """The answer, where there is one."""
        return self.outcome if isinstance(self.outcome, str) else None

    @property
    def rejection(self) -> Rejection | None:
        """Why there is no answer, where there is none."""
        return self.outcome if isinstance(self.outcome, Rejection) else None


def read_reply(outcome: Reply | Failure, task: TaskDefinition, question: str, *, held: bool = False) -> ParsedReply:
    """Read the answer in a reply, if it is a whole one. `question` is the row's last user message; `held` says that the
    row held the reply already, so that it answers no prompt of ours."""
    if isinstance(outcome, Failure):
        return ParsedReply(Rejection(outcome.reason, outcome.message))
    ended = outcome.finish_reason == "stop" and not outcome.refusal
    if not ended and (unfinished := _unfinished(outcome)) is not None:
        return unfinished
    read = task.read_reply if held else task.read_teacher_reply
    answer = read(outcome.content, question)
    if isinstance(answer, Unreadable):
        rejection = Rejection(answer.reason, answer.message)
        return ParsedReply(rejection, worth_another_try=bool(outcome.content.strip()))
    return ParsedReply(answer)


def _unfinished(reply: Reply) -> ParsedReply | None:
    """Why a reply is not the whole of an answer."""
    if reply.finish_reason == "content_filter":
        return _rejected(RejectionReason.CONTENT_FILTER, "The server's content filter withheld the reply.")
    if reply.finish_reason in ("length", "max_tokens"):
        written = "" if reply.output_tokens is None else f" after {reply.output_tokens:,} tokens"
        message = f"The reply was cut off{written}; raise generation.sampling.maxTokens."
        return _rejected(RejectionReason.TRUNCATED, message)
    if reply.finish_reason not in WHOLE:
        message = f'The reply did not come to its end (finish_reason "{reply.finish_reason}").'
        return _rejected(RejectionReason.TRUNCATED, message)
    if reply.refusal and not reply.content.strip():
        return _rejected(RejectionReason.REFUSED, f"The teacher refused: {reply.refusal}")
    return None


def _rejected(reason: RejectionReason, message: str) -> ParsedReply:
    return ParsedReply(Rejection(reason, message))
