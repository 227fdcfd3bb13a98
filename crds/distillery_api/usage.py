"""What the calls to teacher and judge use: tokens and cost, measured and expected."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import Record
from distillery_api.formatting import format_cost


class Usage(Record):
    """What teacher calls used."""

    requests: int = 0
    """HTTP requests that got an answer of any kind."""
    input_tokens: int = 0
    """Tokens read by the teacher."""
    output_tokens: int = 0
    """Tokens written by the teacher."""
    cached_input_tokens: int = 0
    """The part of inputTokens that the server had in its cache."""
    reasoning_tokens: int = 0
    """The part of outputTokens that were thoughts."""
    uncounted_replies: int = 0
    """Replies whose tokens the server did not count; they are estimated."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """The currency of cost; absent where the teacher has no pricing."""
    cost: float | None = None
    """Money for all calls, those included that failed and may have been charged."""

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


class Estimate(Record):
    """What the calls of teacher and judge will come to, said before the first one."""

    rows: int
    """Rows that are put to the teacher."""
    requests: int
    """Requests for them; fewer where rows are the same or replies are in the workspace already."""
    input_tokens: int
    """Tokens that they will read."""
    output_tokens: int
    """Tokens that they will write."""
    low_tokens: int
    """Tokens, read and written, that they will hardly stay below."""
    high_tokens: int
    """Tokens, read and written, that they will hardly exceed: after a pilot the upper end of the 90 % interval, else
    all replies at their longest."""
    currency: Annotated[str, Field(max_length=3)] | None = None
    """The currency of the costs; absent where the teacher has no pricing."""
    cost: float | None = None
    """Money for the tokens."""
    low_cost: float | None = None
    """Money that they will hardly stay below."""
    high_cost: float | None = None
    """Money that they will hardly exceed."""
    pilot_rows: int = 0
    """Rows that were asked for real to find this out."""
    basis: Annotated[str, Field(max_length=512)] = ""
    """Where the numbers come from."""

    def sentence(self) -> str:
        """The estimate in words, such as `6 requests; 900 tokens read, 30 written (870 to 1,700); 0.02 USD (…)`."""
        tokens = (
            f"{self.requests:,} requests; {self.input_tokens:,} tokens read and {self.output_tokens:,} written"
            f" ({self.low_tokens:,} to {self.high_tokens:,} together)"
        )
        if self.cost is None:
            return tokens
        bounds = f"{format_cost(self.low_cost or 0)} to {format_cost(self.high_cost or 0)}"
        return f"{tokens}; {format_cost(self.cost)} {self.currency} ({bounds})"
