"""From a reply to its answer, or to the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_trainer.chat.reply_journal import Reply
from distillery_trainer.chat.retries import Failure
from distillery_trainer.data.records import WHOLE
from distillery_trainer.tasks import TaskDefinition, Unreadable


@dataclass(slots=True)
class ParsedReply:
    """What a reply comes to: an answer, or the reason why there is none."""

    answer: str | None
    reason: str | None = None
    message: str = ""
    worth_another_try: bool = False
    """Whether the teacher may do better when it is told what was wrong."""


def read_reply(outcome: Reply | Failure, prompt: TaskDefinition, question: str, *, held: bool = False) -> ParsedReply:
    """Read the answer in a reply, if it is a whole one. `question` is the row's last user message; `held` says that the
    row held the reply already, so that it answers no prompt of ours."""
    if isinstance(outcome, Failure):
        return ParsedReply(None, outcome.reason, outcome.message)
    ended = outcome.finish_reason == "stop" and not outcome.refusal
    if not ended and (unfinished := _unfinished(outcome)) is not None:
        return unfinished
    read = prompt.read_reply if held else prompt.read_teacher_reply
    answer = read(outcome.content, question)
    if isinstance(answer, Unreadable):
        return ParsedReply(None, answer.reason, answer.message, worth_another_try=bool(outcome.content.strip()))
    return ParsedReply(answer)


def _unfinished(reply: Reply) -> ParsedReply | None:
    """Why a reply is not the whole of an answer."""
    if reply.finish_reason == "content_filter":
        return ParsedReply(None, "content_filter", "The server's content filter withheld the reply.")
    if reply.finish_reason in ("length", "max_tokens"):
        written = "" if reply.output_tokens is None else f" after {reply.output_tokens:,} tokens"
        message = f"The reply was cut off{written}; raise generation.sampling.maxTokens."
        return ParsedReply(None, "truncated", message)
    if reply.finish_reason not in WHOLE:
        message = f'The reply did not come to its end (finish_reason "{reply.finish_reason}").'
        return ParsedReply(None, "truncated", message)
    if reply.refusal and not reply.content.strip():
        return ParsedReply(None, "refused", f"The teacher refused: {reply.refusal}")
    return None
