"""The rows under way: a fixed number of workers take one row after the other, so rows stream through and a slow call
holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from distillery_api.paths import Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.stop_signals import StopRequest
from distillery_api.stage_result import RowCounts
from distillery_trainer.chat.budget import BudgetExhausted
from distillery_trainer.chat.chat_client import ChatClient, Stopping
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.data.records import Rejection
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.filters.row_counts import RowCounter, no_usable_answer, total
from distillery_trainer.generation.output_rows import held_out_row, rejected_row, training_row
from distillery_trainer.generation.outputs import Outputs
from distillery_trainer.generation.preflight import IndexedRow, PreparedData
from distillery_trainer.generation.row_pipeline import RowPipeline, TeacherTurn
from distillery_trainer.runtime.errors import StageError, Terminated, UserError
from distillery_trainer.runtime.files import to_line
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tasks import StudentTurn, TaskDefinition

_GRACE = 10.0
"""Seconds that calls in flight get to finish when the stage ends early: they are paid for."""
_TICK = 0.5
"""Seconds between two reports of progress, and between two syncs of the journal."""
_FIRST_ROWS = 5
"""Rows asked before all others: where none of them gets an answer, something is wrong, and the others are not asked."""


class FirstRows:
    """Whether the teacher's answers are of any use, seen on a few rows before all others are asked."""

    def __init__(self, rows: int, needed: bool) -> None:
        self._rows, self._needed = rows, needed
        self._failures: list[RowRejection] = []
        self._done = 0
        self.known = asyncio.Event()
        """Set as soon as one of them is answered, or all are done."""

    def note(self, rejection: RowRejection | None) -> None:
        """Count a finished row, and why it has no answer."""
        if self.known.is_set():
            return
        self._done += 1
        if rejection is not None and rejection.unanswered:
            self._failures.append(rejection)
        elif rejection is None:
            self.known.set()

    def error(self) -> StageError | None:
        """Why the others are not asked, once all of the first rows are done in vain. Said once."""
        if self.known.is_set() or self._done < self._rows:
            return None
        self.known.set()
        return no_usable_answer(self._failures) if self._needed and self._failures else None


class Workers:
    """`concurrency` workers over one stream of rows."""

    def __init__(
        self,
        config: RunConfig,
        task: TaskDefinition,
        data: PreparedData,
        *,
        tallies: dict[str, RowCounter],
        pipeline: RowPipeline,
        teacher: ChatClient,
        journal: ReplyJournal,
        outputs: Outputs,
        progress: ProgressReporter,
    ) -> None:
        self.tallies = tallies
        self._width = min(teacher.concurrent_rows, data.rows)
        self._stream, self._data = data.stream(), data
        self._task, self._pipeline, self._teacher, self._journal = task, pipeline, teacher, journal
        self._outputs, self._progress = outputs, progress
        self._room = asyncio.Event()
        self._error: StageError | None = None
        ratio = config.generation.min_success_ratio
        self._first_rows = FirstRows(min(_FIRST_ROWS, data.rows), needed=ratio > 0)

    def counts(self) -> RowCounts:
        """Rows of all splits so far."""
        return total(list(self.tallies.values()))

    def split_counts(self) -> dict[str, RowCounts]:
        """Rows by split so far."""
        return {split: tally.counts() for split, tally in self.tallies.items()}

    async def run(self, told: StopRequest) -> None:
        """Answer all rows, until `told` to stop. Raises the StageError that ended it early, after a grace for the calls
        in flight."""
        self._reject_what_is_no_row()
        loop = asyncio.get_running_loop()
        with told.heard_by(lambda: loop.call_soon_threadsafe(self._end, Terminated())):
            housekeeping = asyncio.create_task(self._keep_house())
            try:
                await self._work_until_done_or_stopped()
            finally:
                housekeeping.cancel()
        self._report()
        if self._error:
            raise self._error

    def _reject_what_is_no_row(self) -> None:
        """Records of logs that hold no call that succeeded."""
        for row in self._data.rejected_stream():
            self._outputs.add_rejected(to_line(row))
            self._progress.row_rejected(row.split, row.reason)
            self.tallies[row.split].reject(RowRejection(Rejection(row.reason, row.message)))

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
            for _ in range(self._width):
                workers.create_task(self._ending_on_errors(self._work()))

    async def _work(self) -> None:
        """Take one row after the other until there are none, or the stage ends."""
        for row in self._stream:
            if row.place >= _FIRST_ROWS and not self._first_rows.known.is_set():
                await self._first_rows.known.wait()
            if self._teacher.stopping.is_set():
                return
            await self._process(row)
            if self._outputs.is_full:
                await self._wait_for_room()

    async def _ending_on_errors(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the work end the stage where it fails."""
        try:
            await work
        except Stopping:
            return
        except BudgetExhausted as spent:
            self._end(self._budget_error(spent))
        except StageError as error:
            self._end(error)

    async def _process(self, row: IndexedRow) -> None:
        if row.split == "test":
            self._hold_out(row, await self._pipeline.hold_out(row.example))
        elif verdict := self._data.screening.verdict(row.place):
            self._take(row, RowRejection(verdict))
        else:
            self._take(row, await self._pipeline.learn(row.example))
        if not self._outputs.is_full:
            self._room.set()
        if error := self._first_rows.error():
            self._end(error)

    def _hold_out(self, row: IndexedRow, said: TeacherTurn) -> None:
        held = held_out_row(
            row.example,
            said.parsed,
            said.reply,
            self._task,
            from_validation=self._data.splits.holds_out_validation_rows,
        )
        self._outputs.put(row.place, Artefact.TEST, to_line(held))
        self.tallies["test"].kept += 1
        self._first_rows.note(None)

    def _take(self, row: IndexedRow, learnt: list[StudentTurn] | RowRejection) -> None:
        """Count a row and write it out."""
        if isinstance(learnt, RowRejection):
            self._reject(row, learnt)
            return
        lines = [to_line(training_row(row.example, turn, self._teacher.name)) for turn in learnt]
        self._outputs.put(row.place, Artefact(row.split), b"".join(lines))
        self.tallies[row.split].kept += 1
        self._first_rows.note(None)

    def _reject(self, row: IndexedRow, rejection: RowRejection) -> None:
        tally = self.tallies[row.split]
        self._outputs.put(row.place, Artefact.REJECTED, to_line(rejected_row(row.example, row.split, rejection)))
        self._progress.row_rejected(row.split, rejection.rejection.reason)
        tally.reject(rejection)
        self._first_rows.note(rejection)
        tally.check(teacher_answered=self._teacher.replies > 0)

    async def _wait_for_room(self) -> None:
        while self._outputs.is_full and not self._teacher.stopping.is_set():
            self._room.clear()
            await self._room.wait()

    def _end(self, error: StageError) -> None:
        """Begin nothing new. The first error is the one that is told."""
        self._error = self._error or error
        self._teacher.stopping.set()
        self._first_rows.known.set()
        self._room.set()

    def _budget_error(self, spent: BudgetExhausted) -> UserError:
        done = sum(tally.done for tally in self.tallies.values())
        message = (
            f"{spent} (its prompt and the longest reply). {done:,} of {self._data.rows:,} rows are answered and kept."
            " Raise the budget and run again: nothing is paid for twice."
        )
        return UserError(message, reason=Reason.BUDGET_EXCEEDED)

    async def _keep_house(self) -> None:
        """Report progress, and have the journal written to the disk, while the calls go on."""
        try:
            while True:
                self._report()
                await asyncio.to_thread(self._journal.sync)
                await asyncio.sleep(_TICK)
        except StageError as error:
            self._end(error)

    def _report(self) -> None:
        tallies = self.tallies.values()
        self._progress.update(sum(tally.done for tally in tallies), sum(tally.rows for tally in tallies))
