"""Rows: as they are read from the user's data, and as they are written to the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NotRequired, TypedDict

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.tool_calls import Tool, ToolCall, calls_of, written


class Message(TypedDict):
    """One message of a chat."""

    role: str
    content: str
    """Empty in a message of calls."""
    tools: NotRequired[list[Tool]]
    """What may be called in the conversation; in its first message alone."""
    tool_calls: NotRequired[list[ToolCall]]
    """What an assistant calls."""
    tool_call_id: NotRequired[str]
    """The call whose result a tool's message is."""
    pictures: NotRequired[list[str]]
    """Names of the pictures whose marks stand in the content, in order (pictures.py)."""


def reply_of(message: Message) -> str:
    """What an assistant's message says as one text: its content, or its calls."""
    calls = message.get("tool_calls")
    return written(calls_of(calls)) if calls else message["content"]


Gold = str | list[str]
"""The known answer of a row, or several that are all correct."""


def known_answers(gold: Gold) -> list[str]:
    """The known answers as a list."""
    return [gold] if isinstance(gold, str) else gold


@dataclass(slots=True)
class Row:
    """One row of the user's data."""

    split: str
    """train, validation or test."""
    line: int
    """Line in its file, from 1."""
    id: str
    """The row's own id, otherwise `<split>-<line>`."""
    messages: list[Message]
    """An optional system message, then user and assistant messages in turn; the last one is the user's. With tools,
    results follow an assistant's calls, and may be the last."""
    gold: Gold | None = None
    """The known answer, or several; never shown to a model."""
    reply: str | None = None
    """The existing reply to the last user message."""
    keeps_existing_replies: bool = False
    """Whether existing replies are used as the teacher's, without a request."""
    tools: list[Tool] | None = None
    """What may be called."""

    @property
    def system(self) -> str | None:
        """The row's own system message."""
        return self.messages[0]["content"] if self.messages[0]["role"] == "system" else None

    @property
    def existing_replies(self) -> list[str | None]:
        """The replies that the row already holds, one for each assistant message and one for the next one, which may be
        missing."""
        earlier = [reply_of(message) for message in self.messages if message["role"] == "assistant"]
        return [*earlier, self.reply]

    @property
    def known_answers(self) -> list[str]:
        """The known answers; empty for a row without gold."""
        return [] if self.gold is None else known_answers(self.gold)

    @property
    def text(self) -> str:
        """The last message from the user, or from a tool."""
        return self.messages[-1]["content"]


class SampledAnswer(TypedDict):
    """One of the answers that the teacher's samples of a row gave."""

    completion: list[Message]
    count: int
    """Number of samples that gave it."""


class Preference(TypedDict):
    """A right answer of a row before wrong ones."""

    prompt: list[Message]
    tools: list[Tool] | None
    chosen: list[Message]
    rejected: list[SampledAnswer]


@dataclass(slots=True)
class TrainingRow:
    """A row that the student learns from. Fields that are None are left out of the file."""

    id: str
    prompt: list[Message]
    completion: list[Message]
    teacher: str
    tools: list[Tool] | None = None
    """What may be called, beside the messages as other trainers expect it."""
    samples: list[SampledAnswer] | None = None
    """The different answers of the teacher's samples, the kept one first; None for one sample."""
    reasoning: str | None = None
    """The teacher's reasoning; None where it gave none, and where it is a part of `completion`."""
    logprobs: str | None = None
    """The log-probabilities of the answer's tokens, packed (chat/token_logprobs.py); None where there are none."""


BESIDE_ANSWER = ("samples", "reasoning", "logprobs")
"""Fields of a TrainingRow that earlier releases did not write."""


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """A held-out row, with the teacher's reply if there is one."""

    id: str
    studentPrompt: list[Message]  # noqa: N815 - the name in the file
    """The messages of the row under the student prompt."""
    teacherPrompt: list[Message]  # noqa: N815
    """The messages of the row under the teacher prompt."""
    gold: Gold | None
    reply: str | None
    answer: str | None
    reason: RejectionReason | None
    """Why there is no answer."""
    inputTokens: int | None  # noqa: N815
    outputTokens: int | None  # noqa: N815
    latencySeconds: float | None  # noqa: N815
    fromValidation: bool  # noqa: N815
    """Whether the row was taken from the validation split."""

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> HeldOutRow:
        """The row of a file, including files written when its fields had other names. What else a newer release wrote
        is left out."""
        named = {_EARLIER_FIELDS.get(name, name): value for name, value in row.items()}
        return cls(**{field.name: named[field.name] for field in fields(cls)})


_EARLIER_FIELDS = {"short": "studentPrompt", "elaborate": "teacherPrompt", "carved": "fromValidation"}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row is rejected."""

    reason: RejectionReason
    message: str
    """A sentence for people."""
    transient: bool = False
    """Whether the row may be kept by a later run, since a request failed for a cause that may pass."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that does not become a training row, or a skipped record."""

    split: str
    id: str
    line: int
    reason: RejectionReason
    """One word for programs, such as bad_json or http_429."""
    message: str
    """A sentence for people."""
    reply: str | None
    requestId: str | None  # noqa: N815 - the name in the file
    userMessage: str | None = None  # noqa: N815
    """The row's last user message; None for a skipped record."""
    preference: Preference | None = None
    """What the row teaches all the same; left out of the file where that is nothing."""
