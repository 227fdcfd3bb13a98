"""The hard limit on tokens and money: what a call may cost at most is set aside before it is made, so the limit is
never overshot."""

from __future__ import annotations

import asyncio

from distillery_api.spec.teacher import Budget
from distillery_trainer.chat.prices import Spending
from distillery_trainer.chat.reply_journal import ReplyJournal


class BudgetExhausted(Exception):
    """The next call might cost more than is left."""


class CallBudget:
    """Tokens and money that may still be spent. Calls in flight hold what they may cost at most."""

    def __init__(self, limits: Budget, journal: ReplyJournal) -> None:
        self._limits, self._journal = limits, journal
        self._in_flight = 0
        self._changed = asyncio.Event()

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self._limits.max_tokens is not None or self._limits.max_cost is not None

    async def set_aside(self, most: Spending) -> Spending:
        """Set aside what a call may cost, waiting for calls in flight to give some back where that may help.

        Raises BudgetExhausted.
        """
        while self._exceeded_by(most):
            if not self._in_flight:
                raise BudgetExhausted(self._sentence(most))
            self._changed.clear()
            await self._changed.wait()
        self._journal.set_aside(most)
        self._in_flight += 1
        return most

    def settle(self) -> None:
        """A call that had set something aside is over, and the journal knows what it cost."""
        self._in_flight -= 1
        self._changed.set()

    def _exceeded_by(self, most: Spending) -> bool:
        after, limits = self._journal.spent + most, self._limits
        too_many = limits.max_tokens is not None and after.tokens > limits.max_tokens
        return too_many or (limits.max_cost is not None and after.money > limits.max_cost)

    def _sentence(self, most: Spending) -> str:
        spent, limits = self._journal.spent, self._limits
        if limits.max_tokens is not None and spent.tokens + most.tokens > limits.max_tokens:
            return (
                f"{spent.tokens:,} of the {limits.max_tokens:,} tokens of generation.budget.maxTokens are used, and the"
                f" next call may need {most.tokens:,}"
            )
        pricing = self._journal.prices.pricing
        currency = pricing.currency if pricing else ""
        return (
            f"{spent.money:,.4f} of the {limits.max_cost:,g} {currency} of generation.budget.maxCost are used, and the"
            f" next call may need {most.money:,.4f}"
        )
