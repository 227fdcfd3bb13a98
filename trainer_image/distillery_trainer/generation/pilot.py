"""A few evenly spaced rows asked for real, so that an estimate knows how long this teacher's answers are.

The replies go through the journal of the run's workspace, so the run finds them there and does not pay again.
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
from distillery_trainer.data.records import Example, Message
from distillery_trainer.estimate import PromptSampler
from distillery_trainer.estimate.forecast import Calls, Measured, PilotRow
from distillery_trainer.filters.llm_judge import AnswerJudge
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.generation.preflight import PreparedData
from distillery_trainer.generation.row_pipeline import RowPipeline
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.tasks import TaskDefinition

PILOT_ROWS = 20
"""Rows of a pilot, at most."""
_SHOWN_REASONS = 3


def evenly_spaced(data: PreparedData, rows: int) -> Iterator[tuple[Example, str]]:
    """PILOT_ROWS of the rows that are put to the teacher, or all where there are no more, each with its split."""
    size = min(PILOT_ROWS, rows)
    wanted = {(2 * number + 1) * rows // (2 * size) for number in range(size)}
    for number, row in enumerate(data.asked_stream()):
        if number in wanted:
            yield row.example, row.split


@dataclass(frozen=True)
class _Outcome:
    """What became of one row."""

    row: PilotRow
    reason: RejectionReason | None
    """Why it has no usable answer."""
    failure: str | None
    """The sentence of the call that failed."""


class Pilot:
    """Puts rows to teacher and judge exactly as the run does."""

    def __init__(
        self,
        config: RunConfig,
        task: TaskDefinition,
        teacher: ChatClient,
        judge: ChatClient | None,
        sampler: PromptSampler,
    ) -> None:
        self._config, self._task, self._sampler = config, task, sampler
        self._teacher, self._judge = teacher, judge
        self._slots = asyncio.Semaphore(config.generation.concurrency)

    async def ask(self, rows: Sequence[tuple[Example, str]]) -> list[_Outcome]:
        """All rows, side by side. Raises TryLater where none gets a reply, UserError where the budget is spent."""
        calls = [asyncio.create_task(self._ask(example, split)) for example, split in rows]
        try:
            outcomes = await asyncio.gather(*calls)
        except BudgetExhausted as spent:
            message = f"The budget does not allow a pilot: {spent}. Raise it, or estimate without a pilot."
            raise UserError(message, reason=Reason.BUDGET_EXCEEDED) from spent
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        if all(outcome.failure for outcome in outcomes):
            message = (
                f"The teacher answered none of {len(outcomes)} pilot rows. The first failed: {outcomes[0].failure}"
            )
            raise TryLater(message, reason=Reason.TEACHER_UNREACHABLE)
        return outcomes

    async def _ask(self, example: Example, split: str) -> _Outcome:
        teacher = _Recorder(self._teacher, self._sampler)
        judge = _Recorder(self._judge, self._sampler) if self._judge else None
        answer_judge = AnswerJudge(self._task, judge) if judge else None
        pipeline = RowPipeline(self._config, self._task, teacher, answer_judge)
        async with self._slots:
            if split == "test":
                rejection = (await pipeline.hold_out(example)).parsed.rejection
            else:
                learnt = await pipeline.learn(example)
                rejection = learnt.rejection if isinstance(learnt, RowRejection) else None
        row = PilotRow(
            teacher.measured(self._sampler.calls(example, split)),
            judge.measured(self._sampler.judge_calls(example, split)) if judge else Measured(),
        )
        return _Outcome(row, rejection.reason if rejection else None, teacher.failure)


class _Recorder:
    """A teacher or a judge that keeps count of what one row uses."""

    def __init__(self, asked: ChatClient, sampler: PromptSampler) -> None:
        self._asked, self._sampler = asked, sampler
        self._used, self._cached_tokens = Calls(), 0
        self.failure: str | None = None
        """The sentence of a call that failed."""

    async def ask(
        self, messages: list[Message], sample: int = 0, *, temperature: float | None = None
    ) -> Reply | Failure:
        """Ask it."""
        outcome = await self._asked.ask(messages, sample, temperature=temperature)
        if isinstance(outcome, Failure):
            self.failure = outcome.message
        else:
            self._used += self._of_reply(messages, outcome)
            self._cached_tokens += outcome.cached_tokens or 0
        return outcome

    def measured(self, expected: Calls) -> Measured:
        """What the row used, beside what was expected."""
        return Measured(expected, self._used, self._cached_tokens)

    def _of_reply(self, messages: list[Message], reply: Reply) -> Calls:
        """What the server counted, else what is counted here."""
        read, written = reply.input_tokens, reply.output_tokens
        return Calls(
            1,
            self._sampler.count(messages) if read is None else read,
            self._sampler.count_text(reply.content) if written is None else written,
        )


def usable_share(outcomes: Sequence[_Outcome]) -> str:
    """How many of the pilot's rows got a usable answer, and why the others did not."""
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.reason)
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(_SHOWN_REASONS))
    good = len(outcomes) - reasons.total()
    return f"{good} of {len(outcomes)} pilot rows got a usable answer" + (f" ({told})" if told else "")
