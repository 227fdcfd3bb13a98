"""The concurrent workers: each takes one row after the other, so rows stream through and a slow request delays no other
row."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.stop_signals import StopRequest
from distillery_api.stage import Stage
from distillery_trainer.chat.budget import BudgetExhausted
from distillery_trainer.chat.chat_client import Stopping
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.data.rows import Rejection
from distillery_trainer.filters.llm_judge import AnswerJudge
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.filters.row_counts import RowCounter
from distillery_trainer.generation.first_rows import FIRST_ROWS, FirstRows
from distillery_trainer.generation.internal_errors import ENDS_STAGE
from distillery_trainer.generation.model_clients import ModelClients
from distillery_trainer.generation.output_rows import (
    held_out_row,
    rejected_line,
    rejected_row,
    training_line,
    training_row,
)
from distillery_trainer.generation.outputs import Outputs
from distillery_trainer.generation.preflight import IndexedRow, PreparedData
from distillery_trainer.generation.rejected_rows import RejectedRows
from distillery_trainer.generation.row_pipeline import RowPipeline, TeacherTurn
from distillery_trainer.runtime.errors import StageError, Terminated, UserError, crash
from distillery_trainer.runtime.files import to_line
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import StudentTurn, TaskDefinition

_GRACE = 10.0
"""Seconds for requests in flight to finish when the stage ends early, since they are paid for."""
_TICK = 0.5
"""Seconds between two progress reports, and between two syncs of the journal."""


class Workers:
    """Concurrent workers over one stream of rows."""

    def __init__(
        self,
        config: RunConfig,
        task: TaskDefinition,
        data: PreparedData,
        *,
        counters: Mapping[str, RowCounter],
        clients: ModelClients,
        journal: ReplyJournal,
        outputs: Outputs,
        progress: ProgressReporter,
    ) -> None:
        self._task, self._data, self._counters = task, data, counters
        self._keeps_reasoning = config.generation.keep_reasoning
        self._rows, self._teacher = data.rows(), clients.teacher
        self._concurrency = min(self._teacher.concurrent_rows, data.row_count)
        judge = AnswerJudge(task, clients.judge) if clients.judge else None
        self._scorer = clients.scorer
        self._pipeline = RowPipeline(config, task, clients.teacher, judge)
        self.rejected = RejectedRows(config, task, clients, journal)
        """The rows that are asked again, where the run asks for it."""
        self._journal, self._outputs, self._progress = journal, outputs, progress
        self._outputs_have_room = asyncio.Event()
        self._error: StageError | None = None
        self._first_rows = FirstRows(data.row_count, answers_required=config.generation.min_success_ratio > 0)

    async def run(self, stop_request: StopRequest) -> None:
        """Answer all rows, or until the stop request. Raises the StageError that ended it early, after a grace period
        for the requests in flight."""
        self._reject_skipped_records()
        loop = asyncio.get_running_loop()
        with stop_request.notifying(lambda: loop.call_soon_threadsafe(self._stop, Terminated())):
            housekeeping = asyncio.create_task(self._report_and_sync())
            try:
                await self._work_until_done_or_stopped()
            finally:
                housekeeping.cancel()
        self._report()
        if self._error:
            raise self._error

    def _reject_skipped_records(self) -> None:
        for row in self._data.skipped_rows():
            self._outputs.add_rejected(rejected_line(row))
            self._progress.row_rejected(row.split, row.reason)
            self._counters[row.split].reject(RowRejection(Rejection(row.reason, row.message)))

    async def _work_until_done_or_stopped(self) -> None:
        work = asyncio.create_task(self._work_on_all())
        stopped = asyncio.create_task(self._teacher.stopping.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({work}, timeout=_GRACE)
        finally:
            for task in (stopped, work):
                task.cancel()
            await asyncio.gather(stopped, work, return_exceptions=True)
        if work.done() and not work.cancelled():
            work.result()

    async def _work_on_all(self) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._concurrency):
                workers.create_task(self._stopping_on_errors(self._work()))

    async def _work(self) -> None:
        """Take one row after the other until there are none, or the stage ends."""
        for indexed in self._rows:
            if indexed.index >= FIRST_ROWS and not self._first_rows.finished.is_set():
                await self._first_rows.finished.wait()
            if self._teacher.stopping.is_set():
                return
            await self._process(indexed)
            if self._outputs.is_full:
                await self._wait_for_room()

    async def _stopping_on_errors(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, and stop the stage if it fails."""
        try:
            await work
        except Stopping:
            return
        except BudgetExhausted as exhausted:
            self._stop(self._budget_error(exhausted))
        except StageError as error:
            self._stop(error)
        except Exception as error:  # noqa: BLE001 - the requests in flight are still waited for
            self._stop(crash(Stage.GENERATE, error))

    async def _process(self, indexed: IndexedRow) -> None:
        try:
            await self._handle(indexed)
        except ENDS_STAGE:
            raise
        except Exception as error:  # noqa: BLE001 - it is about this row alone
            self._reject(indexed, RowRejection(self._pipeline.errors.rejection(indexed.row.id, error), unanswered=True))
        if not self._outputs.is_full:
            self._outputs_have_room.set()
        if reason := self._first_rows.error():
            self._stop(reason)

    async def _handle(self, indexed: IndexedRow) -> None:
        if indexed.split == "test":
            self._hold_out(indexed, await self._pipeline.hold_out(indexed.row))
        elif rejection := self._data.deduplication.rejection(indexed.index):
            self._reject(indexed, RowRejection(rejection))
        else:
            outcome = await self._pipeline.training_turns(indexed.row)
            outcome = await self.rejected.outcome(indexed.row, outcome)
            if self._scorer and indexed.split == "train" and not isinstance(outcome, RowRejection):
                outcome = [await self._scorer.added(turn) for turn in outcome]
            self._keep_or_reject(indexed, outcome)

    def _hold_out(self, indexed: IndexedRow, turn: TeacherTurn) -> None:
        from_validation = self._data.splits.holds_out_validation_rows
        held_out = held_out_row(indexed.row, turn.parsed, turn.reply, self._task, from_validation=from_validation)
        self._outputs.put(indexed.index, Artefact.TEST, to_line(held_out))
        self._counters["test"].hold_out(turn.parsed.rejection)
        self._first_rows.add(None)

    def _keep_or_reject(self, indexed: IndexedRow, outcome: list[StudentTurn] | RowRejection) -> None:
        if isinstance(outcome, RowRejection):
            self._reject(indexed, outcome)
            return
        rows = [
            training_row(indexed.row, turn, self._teacher.name, keeps_reasoning=self._keeps_reasoning)
            for turn in outcome
        ]
        lines = [training_line(row) for row in rows]
        self._outputs.put(indexed.index, Artefact(indexed.split), b"".join(lines))
        self._counters[indexed.split].kept += 1
        self._first_rows.add(None)

    def _reject(self, indexed: IndexedRow, rejection: RowRejection) -> None:
        counter = self._counters[indexed.split]
        self._outputs.put(
            indexed.index, Artefact.REJECTED, rejected_line(rejected_row(indexed.row, indexed.split, rejection))
        )
        self._progress.row_rejected(indexed.split, rejection.rejection.reason)
        counter.reject(rejection)
        self._first_rows.add(rejection)
        counter.check(teacher_answered=self._teacher.replies > 0)

    async def _wait_for_room(self) -> None:
        while self._outputs.is_full and not self._teacher.stopping.is_set():
            self._outputs_have_room.clear()
            await self._outputs_have_room.wait()

    def _stop(self, error: StageError) -> None:
        """Start nothing new. The first error is the one that is reported."""
        self._error = self._error or error
        self._teacher.stopping.set()
        self._first_rows.finished.set()
        self._outputs_have_room.set()

    def _budget_error(self, exhausted: BudgetExhausted) -> UserError:
        done = sum(counter.done for counter in self._counters.values())
        message = (
            f"{exhausted} (its prompt and the longest reply). {done:,} of {self._data.row_count:,} rows are done and"
            " saved. Raise the budget and run again: replies that are already paid for are reused."
        )
        return UserError(message, reason=Reason.BUDGET_EXCEEDED)

    async def _report_and_sync(self) -> None:
        """Report progress and sync the journal to the disk, while requests are in flight."""
        try:
            while True:
                self._report()
                await asyncio.to_thread(self._journal.sync)
                await asyncio.sleep(_TICK)
        except StageError as error:
            self._stop(error)
        except Exception as error:  # noqa: BLE001 - what is paid for must be on the disk
            self._stop(crash(Stage.GENERATE, error))

    def _report(self) -> None:
        counters = self._counters.values()
        self._progress.update(sum(counter.done for counter in counters), sum(counter.rows for counter in counters))
