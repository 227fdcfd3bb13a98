"""What a model's requests use: each reserves what it may cost, and what it did cost is recorded with its reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.spec.teacher import Pricing
from distillery_trainer.chat.budget import RequestBudget
from distillery_trainer.chat.error_responses import CallError
from distillery_trainer.chat.prices import Prices, Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.request_parameters import output_limit
from distillery_trainer.chat.token_estimate import TokenEstimate
from distillery_trainer.data.rows import Message
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter


class UsageTracker:
    """Keeps journal, budget and metrics consistent."""

    def __init__(
        self, journal: ReplyJournal, budget: RequestBudget, progress: ProgressReporter, pricing: Pricing | None
    ) -> None:
        self._journal, self._budget, self._progress = journal, budget, progress
        self._prices = Prices(pricing)
        self._estimate = TokenEstimate()

    def expected_tokens(self, messages: list[Message], parameters: Mapping[str, Any]) -> int:
        """What a request counts for against a limit of tokens per minute, before it is sent."""
        return self._estimate.of_prompt(messages) + (output_limit(parameters) or 0)

    async def reserve(self, messages: list[Message], parameters: Mapping[str, Any]) -> Spending | None:
        """Reserve what a request may cost at most; None without a budget. Raises BudgetExhausted and UserError."""
        if not self._budget.is_limited:
            return None
        max_output_tokens = output_limit(parameters)
        if max_output_tokens is None:
            raise UserError(
                "generation.budget cannot be enforced: the teacher's server accepts no limit on the length of a reply,"
                " neither as max_tokens nor as max_completion_tokens. Remove the budget, or use another server.",
                reason=Reason.TEACHER_REJECTED,
            )
        return await self._budget.reserve(self._prices.at_most(self._estimate.at_most(messages), max_output_tokens))

    def record_reply(self, key: str, messages: list[Message], reply: Reply, reserved: Spending | None) -> None:
        """Record a reply and what it cost."""
        estimated = None if reply.tokens is not None else self._estimated(messages, reply)
        input_tokens, output_tokens = estimated or (reply.input_tokens or 0, reply.output_tokens or 0)
        spending = self._prices.of(input_tokens, output_tokens, reply.cached_tokens or 0)
        if estimated and reserved:
            spending = reserved  # the budget is a hard limit, and an estimate may be too low
        self._journal.add_reply(key, reply, spending, reserved=reserved, estimated=estimated)
        if estimated is None:
            self._estimate.learn(messages, input_tokens)
        self._settle(reserved)
        self._progress.teacher_request("ok")
        self._progress.teacher_tokens(input_tokens, output_tokens, reply.cached_tokens or 0)
        if pricing := self._prices.pricing:
            self._progress.teacher_cost(spending.cost, pricing.currency)

    def _estimated(self, messages: list[Message], reply: Reply) -> tuple[int, int]:
        return self._estimate.of_prompt(messages), self._estimate.of_reply(reply)

    def record_failure(self, error: CallError, reserved: Spending | None) -> None:
        """Record a request without a reply."""
        released = reserved if error.costs_nothing else None
        self._journal.add_failure(error.reason, answered=error.answered, released=released)
        self._settle(reserved)
        self._progress.teacher_request(error.reason)

    def record_resend(self, error: CallError) -> None:
        """Record a request that the server rejected for its form. It is sent again at once under the same
        reservation."""
        self._journal.add_failure(error.reason, answered=True)
        self._progress.teacher_request(error.reason)

    def release(self, reserved: Spending | None) -> None:
        """Release the reservation of a request that was not sent after all."""
        if reserved is not None:
            self._journal.add_failure("not_asked", answered=False, released=reserved)
            self._settle(reserved)

    def abandon(self, reserved: Spending | None) -> None:
        """Count the reservation of a request as spent, since nobody knows what became of it."""
        self._settle(reserved)

    def _settle(self, reserved: Spending | None) -> None:
        if reserved is not None:
            self._budget.settle()
