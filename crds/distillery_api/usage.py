"""Requests, tokens and cost of teacher and judge: measured and estimated."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import LenientModel
from distillery_api.formatting import format_cost
from distillery_api.training_memory import TrainingMemory


class Usage(LenientModel):
    """Requests, tokens and cost of the teacher and of generation.judge."""

    requests: int = 0
    """Number of HTTP requests that got a response, successful or not."""
    input_tokens: int = 0
    """Number of input tokens."""
    output_tokens: int = 0
    """Number of output tokens, reasoning included."""
    cached_input_tokens: int = 0
    """Number of inputTokens that the server read from its cache."""
    reasoning_tokens: int = 0
    """Number of outputTokens that were reasoning."""
    uncounted_replies: int = 0
    """Number of replies for which the server reported no token counts. Their tokens are estimated."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """Currency of cost; absent if the teacher has no pricing."""
    cost: float | None = None
    """Cost of all requests, including failed ones that may have been charged."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            uncounted_replies=self.uncounted_replies + other.uncounted_replies,
            currency=self.currency or other.currency,
            cost=other.cost if self.cost is None else round(self.cost + (other.cost or 0.0), 6),
        )


class Estimate(LenientModel):
    """Expected requests, tokens and cost of the teacher and generation.judge, estimated before the first request."""

    rows: int
    """Number of rows that are sent to the teacher, without storedRows."""
    stored_rows: int = 0
    """Number of rows whose replies are already in the workspace, so that nothing more is paid for them."""
    requests: int
    """Expected number of requests. Identical rows reduce it."""
    input_tokens: int
    """Expected number of input tokens."""
    output_tokens: int
    """Expected number of output tokens."""
    low_tokens: int
    """Lower bound of input and output tokens: of the 90 % interval after a pilot, otherwise with half-length
    replies."""
    high_tokens: int
    """Upper bound of input and output tokens: of the 90 % interval after a pilot, otherwise with replies of maximum
    length."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """Currency of the costs; absent if the teacher has no pricing."""
    cost: float | None = None
    """Expected cost."""
    low_cost: float | None = None
    """Lower bound of the cost, as for lowTokens."""
    high_cost: float | None = None
    """Upper bound of the cost, as for highTokens."""
    pilot_rows: int = 0
    """Number of rows that were sent to the teacher to improve the estimate."""
    basis: Annotated[str, Field(max_length=512)] = ""
    """How the numbers were obtained."""
    training_memory: TrainingMemory | None = None
    """Memory that the training is expected to take; absent where the student's sizes could not be read."""

    def sentence(self) -> str:
        """The estimate in words, such as `6 requests; 900 input and 30 output tokens (870 to 1,700 in total); 0.02 USD
        (0.01 to 0.03)`; with stored rows, `50 of 300 rows to ask` first."""
        if self.stored_rows:
            rest = self.model_copy(update={"stored_rows": 0}).sentence()
            return f"{self.rows:,} of {self.rows + self.stored_rows:,} rows to ask{f': {rest}' if self.rows else ''}"
        tokens = (
            f"{self.requests:,} requests; {self.input_tokens:,} input and {self.output_tokens:,} output tokens"
            f" ({self.low_tokens:,} to {self.high_tokens:,} in total)"
        )
        if self.cost is None:
            return tokens
        bounds = f"{format_cost(self.low_cost or 0)} to {format_cost(self.high_cost or 0)}"
        return f"{tokens}; {format_cost(self.cost)} {self.currency} ({bounds})"
