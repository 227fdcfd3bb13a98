"""The books of a model's calls: what each may cost is set aside, what it did cost is noted, with the reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.spec.teacher import Pricing
from distillery_trainer.chat.budget import CallBudget
from distillery_trainer.chat.error_responses import CallError
from distillery_trainer.chat.prices import Prices, Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.request_parameters import output_limit
from distillery_trainer.chat.token_estimate import TokenEstimate
from distillery_trainer.data.records import Message
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter


class UsageTracker:
    """Keeps journal, budget and the figures on /metrics in step."""

    def __init__(
        self, journal: ReplyJournal, budget: CallBudget, progress: ProgressReporter, pricing: Pricing | None
    ) -> None:
        self._journal, self._budget, self._progress = journal, budget, progress
        self._prices = Prices(pricing)
        self._estimate = TokenEstimate()

    def likely_tokens(self, messages: list[Message], parameters: Mapping[str, Any]) -> int:
        """What a call counts for against a limit of tokens a minute, before it is made."""
        return self._estimate.of_prompt(messages) + (output_limit(parameters) or 0)

    async def set_aside(self, messages: list[Message], parameters: Mapping[str, Any]) -> Spending | None:
        """Set aside what a call may cost at most; None without a budget. Raises BudgetSpent, and UserError."""
        if not self._budget.is_limited:
            return None
        written = output_limit(parameters)
        if written is None:
            raise UserError(
                "generation.budget cannot be kept: the teacher's server takes no limit on a reply's length, neither as"
                " max_tokens nor as max_completion_tokens. Leave the budget out, or use another server.",
                reason=Reason.TEACHER_REJECTED,
            )
        return await self._budget.set_aside(self._prices.at_most(self._estimate.at_most(messages), written))

    def keep(self, key: str, messages: list[Message], reply: Reply, set_aside: Spending | None) -> None:
        """A call got a reply."""
        estimated = None if reply.tokens is not None else self._estimated(messages, reply)
        read, written = estimated or (reply.input_tokens or 0, reply.output_tokens or 0)
        cost = self._prices.of(read, written, reply.cached_tokens or 0)
        if estimated and set_aside:
            cost = set_aside  # the limit is hard, and an estimate is not
        self._journal.add_reply(key, reply, cost, set_aside=set_aside, estimated=estimated)
        if estimated is None:
            self._estimate.learn(messages, read)
        self._settle(set_aside)
        self._progress.teacher_request("ok")
        self._progress.teacher_tokens(read, written, reply.cached_tokens or 0)
        if pricing := self._prices.pricing:
            self._progress.teacher_cost(cost.money, pricing.currency)

    def _estimated(self, messages: list[Message], reply: Reply) -> tuple[int, int]:
        return self._estimate.of_prompt(messages), self._estimate.of_reply(reply)

    def fail(self, error: CallError, set_aside: Spending | None) -> None:
        """A call got no reply."""
        given_back = set_aside if error.costs_nothing else None
        self._journal.add_failure(error.reason, answered=error.answered, given_back=given_back)
        self._settle(set_aside)
        self._progress.teacher_request(error.reason)

    def give_back(self, set_aside: Spending | None) -> None:
        """A call was not made after all."""
        if set_aside is not None:
            self._journal.add_failure("not_asked", answered=False, given_back=set_aside)
            self._settle(set_aside)

    def _settle(self, set_aside: Spending | None) -> None:
        if set_aside is not None:
            self._budget.settle()
