"""What requests cost, in tokens and in the currency of the pricing."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.spec.teacher import Pricing
from distillery_trainer.chat.journal_line import JournalLine
from distillery_trainer.chat.reply import Reply

_MILLION = 1_000_000
_DECIMALS = 12
"""Enough for the lowest price of a token, 0.000001 per million."""


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens, input and output, and what they cost."""

    tokens: int = 0
    cost: float = 0.0
    """In the currency of the pricing; 0 without one."""

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Spending) -> Spending:
        return Spending(self.tokens - other.tokens, round(self.cost - other.cost, _DECIMALS))

    def __neg__(self) -> Spending:
        return Spending(-self.tokens, -self.cost)


class Prices:
    """The prices of a model's tokens; without a pricing they are free."""

    def __init__(self, pricing: Pricing | None) -> None:
        self.pricing = pricing
        self._input = pricing.input_per_million / _MILLION if pricing else 0.0
        self._output = pricing.output_per_million / _MILLION if pricing else 0.0
        cached = pricing.cached_input_per_million if pricing else None
        self._cached_input = self._input if cached is None else cached / _MILLION

    def of(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> Spending:
        """What a request costs, `cached_tokens` of its input tokens being read from the server's cache."""
        cached_tokens = min(cached_tokens, input_tokens)
        input_cost = (input_tokens - cached_tokens) * self._input + cached_tokens * self._cached_input
        return Spending(input_tokens + output_tokens, round(input_cost + output_tokens * self._output, _DECIMALS))

    def at_most(self, input_tokens: int, output_tokens: int) -> Spending:
        """What a request costs at most, whether or not its prompt is in the server's cache."""
        cost = input_tokens * max(self._input, self._cached_input) + output_tokens * self._output
        return Spending(input_tokens + output_tokens, round(cost, _DECIMALS))

    def of_line(self, line: JournalLine) -> float:
        """The cost in a line of the journal. A line without one is charged at the present prices, and what it reserved
        at the highest of them."""
        if self.pricing is None:
            return 0.0
        if line.cost is not None:
            return line.cost
        counted = line.reply or Reply("", None)
        input_tokens, output_tokens = counted.input_tokens or 0, counted.output_tokens or 0
        reserved = line.spent - input_tokens - output_tokens
        highest = max(self._input, self._cached_input, self._output)
        return self.of(input_tokens, output_tokens, line.cached_tokens).cost + reserved * highest
