"""The hard limit on tokens and cost: what a request may cost at most is reserved before it is sent, so the limit is
never exceeded."""

from __future__ import annotations

import asyncio

from distillery_api.spec.teacher import Budget
from distillery_trainer.chat.prices import Spending
from distillery_trainer.chat.reply_journal import ReplyJournal


class BudgetExhausted(Exception):
    """The next request may cost more than is left of the budget."""


class RequestBudget:
    """Tokens and cost that may still be spent. Each request in flight reserves what it may cost at most."""

    def __init__(self, limits: Budget, journal: ReplyJournal) -> None:
        self._limits, self._journal = limits, journal
        self._in_flight = 0
        self._changed = asyncio.Event()

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self._limits.max_tokens is not None or self._limits.max_cost is not None

    async def reserve(self, most: Spending) -> Spending:
        """Reserve what a request may cost. Waits while requests in flight may release enough.

        Raises BudgetExhausted.
        """
        while self._would_exceed(most):
            if not self._in_flight:
                raise BudgetExhausted(self._message(most))
            self._changed.clear()
            await self._changed.wait()
        self._journal.reserve(most)
        self._in_flight += 1
        return most

    def settle(self) -> None:
        """A request with a reservation has finished, and the journal has recorded what it cost."""
        self._in_flight -= 1
        self._changed.set()

    def _would_exceed(self, most: Spending) -> bool:
        after, limits = self._journal.spent + most, self._limits
        exceeds_tokens = limits.max_tokens is not None and after.tokens > limits.max_tokens
        return exceeds_tokens or (limits.max_cost is not None and after.cost > limits.max_cost)

    def _message(self, most: Spending) -> str:
        spent, limits = self._journal.spent, self._limits
        if limits.max_tokens is not None and spent.tokens + most.tokens > limits.max_tokens:
            return (
                f"{spent.tokens:,} of the {limits.max_tokens:,} tokens of generation.budget.maxTokens are used, and the"
                f" next request may need up to {most.tokens:,}"
            )
        pricing = self._journal.prices.pricing
        currency = pricing.currency if pricing else ""
        return (
            f"{spent.cost:,.4f} of the {limits.max_cost:,g} {currency} of generation.budget.maxCost are used, and the"
            f" next request may cost up to {most.cost:,.4f}"
        )
