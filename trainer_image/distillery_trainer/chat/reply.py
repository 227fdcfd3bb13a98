"""What becomes of a request to a model: a reply, or a failure."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.rejection_reasons import RejectionReason


@dataclass(slots=True)
class Reply:
    """What the teacher said to one request."""

    content: str
    finish_reason: str | None
    reasoning: str | None = None
    """Thoughts, kept apart from the answer and never trained on."""
    refusal: str | None = None
    input_tokens: int | None = None
    """None where the server does not count."""
    output_tokens: int | None = None
    """Thoughts included; None where the server does not count."""
    latency_seconds: float | None = None
    request_id: str | None = None
    cached_tokens: int | None = None
    """The part of input_tokens that the server had in its cache."""
    reasoning_tokens: int | None = None
    """The part of output_tokens that are thoughts."""
    model: str | None = None
    """The model's name as the server gave it, where that is not the one that was asked for."""

    @property
    def tokens(self) -> int | None:
        """Tokens read and written; None where the server does not count."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no reply."""

    reason: RejectionReason
    message: str
    request_id: str | None = None
    passing: bool = False
    """Whether the same question may get a reply another day."""
