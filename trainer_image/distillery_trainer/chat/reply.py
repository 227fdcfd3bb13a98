"""What becomes of a request to a model: a reply, or a failure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from pydantic import ConfigDict

from distillery_api.rejection_reasons import RejectionReason


@dataclass(slots=True)
class Reply:
    """What a model wrote to one request. The journal stores these fields under their names."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    content: str
    finish_reason: str | None
    reasoning: str | None = None
    """Kept apart from the content."""
    refusal: str | None = None
    input_tokens: int | None = None
    """None where the server does not count tokens."""
    output_tokens: int | None = None
    """Including reasoning; None where the server does not count tokens."""
    latency_seconds: float | None = None
    request_id: str | None = None
    cached_tokens: int | None = None
    """The part of input_tokens that the server read from its cache."""
    reasoning_tokens: int | None = None
    """The part of output_tokens that is reasoning."""
    model: str | None = None
    """The model's name in the server's reply, where it differs from the requested one."""
    logprobs: str | None = None
    """The log-probabilities of its tokens, packed (token_logprobs.py), where they were asked for and sent: of the text
    that was given, where the request was to score that."""

    @property
    def stored_fields(self) -> dict[str, Any]:
        """What the journal stores, by name: log-probabilities only where there are any."""
        named = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in named if name != "logprobs" or value}

    @property
    def tokens(self) -> int | None:
        """Input and output tokens; None where the server does not count them."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no reply."""

    reason: RejectionReason
    message: str
    request_id: str | None = None
    transient: bool = False
    """Whether the same request may succeed in a later run."""
