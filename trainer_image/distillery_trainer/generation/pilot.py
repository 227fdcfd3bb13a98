"""The pilot: a few evenly spaced rows are sent to the teacher, so that an estimate knows how long its answers are.

The replies are kept in the journal of the run's workspace, so the run does not pay for them again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.chat.budget import BudgetExhausted
from distillery_trainer.chat.chat_client import ChatClient
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.estimate import PromptSampler
from distillery_trainer.estimate.forecast import ModelUsage, PilotRow, PilotUsage
from distillery_trainer.filters.llm_judge import AnswerJudge
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.generation.model_clients import ModelClients
from distillery_trainer.generation.preflight import PreparedData
from distillery_trainer.generation.row_pipeline import RowPipeline
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.tasks import TaskDefinition

PILOT_ROWS = 20
"""Maximum number of rows of a pilot."""
_SHOWN_REASONS = 3


def evenly_spaced(data: PreparedData, rows: int) -> Iterator[tuple[Row, str]]:
    """PILOT_ROWS of the rows that are sent to the teacher, or all if there are fewer, each with its split."""
    size = min(PILOT_ROWS, rows)
    chosen = {(2 * number + 1) * rows // (2 * size) for number in range(size)}
    for number, indexed in enumerate(data.rows_to_send()):
        if number in chosen:
            yield indexed.row, indexed.split


@dataclass(frozen=True)
class _PilotRow:
    """The outcome of one row."""

    row: PilotRow
    reason: RejectionReason | None
    """Why it has no usable answer."""
    failure: str | None
    """The message of the request that failed."""


class Pilot:
    """Sends rows to teacher and judge exactly as the run does."""

    def __init__(
        self,
        config: RunConfig,
        task: TaskDefinition,
        clients: ModelClients,
        sampler: PromptSampler,
    ) -> None:
        self._config, self._task, self._sampler = config, task, sampler
        self._clients = clients
        self._slots = asyncio.Semaphore(config.generation.concurrency)

    async def ask(self, rows: Sequence[tuple[Row, str]]) -> list[_PilotRow]:
        """Ask all rows concurrently. Raises TryLater if none gets a reply, UserError if the budget is exhausted."""
        requests = [asyncio.create_task(self._ask(row, split)) for row, split in rows]
        try:
            outcomes = await asyncio.gather(*requests)
        except BudgetExhausted as exhausted:
            message = f"The budget does not allow a pilot: {exhausted}. Raise it, or estimate without a pilot."
            raise UserError(message, reason=Reason.BUDGET_EXCEEDED) from exhausted
        finally:
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
        if all(outcome.failure for outcome in outcomes):
            message = f"The teacher answered none of {len(outcomes)} pilot rows. First error: {outcomes[0].failure}"
            raise TryLater(message, reason=Reason.TEACHER_UNREACHABLE)
        return outcomes

    async def _ask(self, row: Row, split: str) -> _PilotRow:
        teacher = _UsageRecorder(self._clients.teacher, self._sampler)
        judge = _UsageRecorder(self._clients.judge, self._sampler) if self._clients.judge else None
        answer_judge = AnswerJudge(self._task, judge) if judge else None
        pipeline = RowPipeline(self._config, self._task, teacher, answer_judge)
        async with self._slots:
            if split == "test":
                rejection = (await pipeline.hold_out(row)).parsed.rejection
            else:
                turns = await pipeline.training_turns(row)
                rejection = turns.rejection if isinstance(turns, RowRejection) else None
        usage = PilotRow(
            teacher.usage(self._sampler.teacher_usage(row, split)),
            judge.usage(self._sampler.judge_usage(row, split)) if judge else PilotUsage(),
        )
        return _PilotRow(usage, rejection.reason if rejection else None, teacher.failure)


class _UsageRecorder:
    """A client of teacher or judge that counts what one row uses."""

    def __init__(self, client: ChatClient, sampler: PromptSampler) -> None:
        self._client, self._sampler = client, sampler
        self._used, self._cached_tokens = ModelUsage(), 0
        self.failure: str | None = None
        """The message of a request that failed."""

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """Ask the model."""
        outcome = await self._client.ask(messages, sample, temperature=temperature)
        if isinstance(outcome, Failure):
            self.failure = outcome.message
        else:
            self._used += self._of_reply(messages, outcome)
            self._cached_tokens += outcome.cached_tokens or 0
        return outcome

    def usage(self, expected: ModelUsage) -> PilotUsage:
        """What the row used, and what was expected."""
        return PilotUsage(expected, self._used, self._cached_tokens)

    def _of_reply(self, messages: list[Message], reply: Reply) -> ModelUsage:
        """The tokens counted by the server; if it does not count them, they are counted here."""
        input_tokens, output_tokens = reply.input_tokens, reply.output_tokens
        return ModelUsage(
            1,
            self._sampler.count_prompt_tokens(messages) if input_tokens is None else input_tokens,
            self._sampler.count_tokens(reply.content) if output_tokens is None else output_tokens,
        )


def usable_share(outcomes: Sequence[_PilotRow]) -> str:
    """How many of the pilot's rows got a usable answer, and why the others did not."""
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.reason)
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(_SHOWN_REASONS))
    usable = len(outcomes) - reasons.total()
    return f"{usable} of {len(outcomes)} pilot rows got a usable answer" + (f" ({listed})" if listed else "")
