"""The hard limit on tokens and money: what a call may cost at most is set aside before it is made, so the limit is
never overshot."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from distillery_api.spec.teacher import Budget
from distillery_trainer.chat.prices import Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.data.records import Message

_TOKENS_A_MESSAGE = 8
_FRAME = 32
"""Tokens that a server may put around a prompt without being asked to."""
_USUAL_TOKENS_A_BYTE = 0.25
_WEIGHT = 4096
"""Bytes that the usual share counts for, beside what is seen."""


class BudgetExhausted(Exception):
    """The next call might cost more than is left."""


class TokenEstimate:
    """How many tokens a text of one model may have at most, and how many it probably has."""

    def __init__(self) -> None:
        self._frame = _FRAME
        self._bytes = float(_WEIGHT)
        self._tokens = _WEIGHT * _USUAL_TOKENS_A_BYTE

    def at_most(self, messages: Sequence[Message]) -> int:
        """An upper bound for a prompt's tokens: no tokenizer makes more than one of a byte.

        What servers add by themselves is the most that was seen.
        """
        return _size(messages) + _TOKENS_A_MESSAGE * len(messages) + self._frame

    def probably(self, size: int) -> int:
        """The tokens that a text of `size` bytes has at the mean of what was seen, a quarter of them at first."""
        return round(size * self._tokens / self._bytes)

    def of_prompt(self, messages: Sequence[Message]) -> int:
        """The tokens that a prompt probably has."""
        return self.probably(_size(messages))

    def of_reply(self, reply: Reply) -> int:
        """The tokens that a reply probably has, its thoughts included."""
        return self.probably(len(reply.content.encode()) + len((reply.reasoning or "").encode()))

    def learn(self, messages: Sequence[Message], tokens: int) -> None:
        """Take note of a prompt's real tokens."""
        size = _size(messages)
        self._bytes += size
        self._tokens += tokens
        self._frame = max(self._frame, tokens - size - _TOKENS_A_MESSAGE * len(messages))


def _size(messages: Sequence[Message]) -> int:
    """Bytes of the text."""
    return sum(len(message["content"].encode()) for message in messages)


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
