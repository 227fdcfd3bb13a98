"""The hard limit on tokens: what a call may cost at most is set aside before it is made, so the limit is never
overshot."""

from __future__ import annotations

import asyncio

import orjson

from distillery_trainer.records import Message
from distillery_trainer.teachers.journal import ReplyJournal

_TOKENS_A_MESSAGE = 8
_CAUTION = 1.05
_ENOUGH_SAMPLES = 20


class BudgetSpent(Exception):
    """The next call might cost more than is left."""

    def __init__(self, limit: int, spent: int, needed: int) -> None:
        super().__init__(
            f"{spent:,} of the {limit:,} tokens of generation.budget.maxTokens are used, and the next call may need"
            f" {needed:,}"
        )


class TokenEstimate:
    """How many tokens a prompt may have: half its bytes at first, then the most that was seen for its length."""

    def __init__(self) -> None:
        self._most = 0.0
        self._samples = 0

    def tokens(self, messages: list[Message]) -> int:
        """An upper bound for the prompt's tokens."""
        share = self._most * _CAUTION if self._samples >= _ENOUGH_SAMPLES else max(0.5, self._most * _CAUTION)
        return int(_size(messages) * share) + 1 + _TOKENS_A_MESSAGE * len(messages)

    def learn(self, messages: list[Message], tokens: int | None) -> None:
        """Take note of a prompt's real tokens."""
        if tokens is not None:
            self._most = max(self._most, tokens / _size(messages))
            self._samples += 1


def _size(messages: list[Message]) -> int:
    return len(orjson.dumps(messages))


class TokenBudget:
    """Tokens that may still be spent. Calls in flight hold what they may cost at most."""

    def __init__(self, limit: int | None, journal: ReplyJournal, output_limit: int) -> None:
        self._limit, self._journal, self._output_limit = limit, journal, output_limit
        self._estimate = TokenEstimate()
        self._in_flight = 0
        self._changed = asyncio.Event()

    async def set_aside(self, messages: list[Message]) -> int:
        """Set aside what a call may cost, in tokens, waiting for calls in flight to give some back where that may help.

        Without a limit that is 0. Raises BudgetSpent.
        """
        if self._limit is None:
            return 0
        while self._journal.spent + (needed := self._estimate.tokens(messages) + self._output_limit) > self._limit:
            if not self._in_flight:
                raise BudgetSpent(self._limit, self._journal.spent, needed)
            self._changed.clear()
            await self._changed.wait()
        self._journal.set_aside(needed)
        self._in_flight += 1
        return needed

    def settle(self, messages: list[Message], input_tokens: int | None) -> None:
        """A call that had set something aside is over, and the journal knows what it cost."""
        if self._limit is not None:
            self._in_flight -= 1
            self._estimate.learn(messages, input_tokens)
            self._changed.set()
