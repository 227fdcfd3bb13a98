"""What all replies to a run's rows used, whichever run paid for them."""

from __future__ import annotations

from collections.abc import Iterable

from distillery_api.spec.teacher import Pricing
from distillery_api.usage import Usage
from distillery_trainer.chat.journal_line import JournalLine
from distillery_trainer.chat.prices import Prices
from distillery_trainer.chat.reply_locations import ReplyLocations


class UsedReplies:
    """Each reply of the journal that a run's rows use counts once, at the present prices."""

    def __init__(self) -> None:
        self._counted = ReplyLocations()  # the keys alone, in a few bytes each
        self._replies = self._input_tokens = self._output_tokens = self._cached_tokens = self._reasoning_tokens = 0
        self._cost = 0.0
        self._currency: str | None = None

    def add(self, key: int, lines: Iterable[JournalLine], pricing: Pricing | None) -> None:
        """Count the replies to one request: the one that is used, and those that were discarded before."""
        if self._counted.find(key) is not None:
            return
        self._counted.add(key, 0, 0)
        prices = Prices(pricing)
        for line in lines:
            input_tokens, output_tokens = line.tokens
            self._replies += 1
            self._input_tokens += input_tokens
            self._output_tokens += output_tokens
            self._cached_tokens += line.cached_tokens
            self._reasoning_tokens += (line.reply and line.reply.reasoning_tokens) or 0
            self._cost += prices.of(input_tokens, output_tokens, line.cached_tokens).cost
        if pricing:
            self._currency = pricing.currency

    @property
    def usage(self) -> Usage:
        """The replies, counted as requests, with their tokens and cost."""
        return Usage(
            requests=self._replies,
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            cached_input_tokens=self._cached_tokens,
            reasoning_tokens=self._reasoning_tokens,
            cost=round(self._cost, 6) if self._currency else None,
            currency=self._currency,
        )
