"""The first stage: every row is put to the teacher, its reply read, and kept or rejected with a reason.

All rows are checked before the first paid call. Then a fixed number of workers take one row after the other, so rows
stream through and a slow call holds up nobody else. Replies are in the journal as soon as they are there: whatever ends
the stage, the next attempt asks only what was in flight.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery_api.paths import Workspace
from distillery_api.result import Reason, RowCounts, StageResult, StageState
from distillery_api.run import RunConfig
from distillery_trainer.data.carving import Carving
from distillery_trainer.data.rows import Source, read_examples, sources, survey
from distillery_trainer.errors import Kept, StageError, Terminated, UserError
from distillery_trainer.filters.judgement import held_out_row, judge, rejected_row, training_row
from distillery_trainer.filters.tally import Tally, total
from distillery_trainer.outputs import Outputs
from distillery_trainer.progress import ProgressReporter
from distillery_trainer.prompts import TaskPrompt, for_task
from distillery_trainer.records import Example, to_line
from distillery_trainer.teachers.budget import BudgetSpent
from distillery_trainer.teachers.endpoint import connections_allowed
from distillery_trainer.teachers.journal import Reply, ReplyJournal
from distillery_trainer.teachers.teacher import Failure, Stopping, Teacher
from distillery_trainer.termination import on_termination

_GRACE = 10.0
"""Seconds that calls in flight get to finish when the stage ends early: they are paid for."""
_TICK = 0.5
"""Seconds between two reports of progress, and between two syncs of the journal."""


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Generate the rows of a run. Raises StageError, with what was kept, where it cannot be finished."""
    prompt = for_task(config)
    data = look_over(config, prompt)
    workspace = Workspace(Path(config.workspace))
    with ReplyJournal(workspace.replies, config.folder) as journal:
        sys.stderr.write(f"{data.rows:,} rows to answer; {len(journal):,} replies are in the workspace already.\n")
        return asyncio.run(_generate(config, prompt, data, journal, progress))


# --- the rows


@dataclass(frozen=True)
class Data:
    """Checked rows, not held but read again."""

    sources: list[Source]
    counts: dict[str, int]
    """Rows by the split that they go to."""
    carving: Carving | None
    """Chooses the held-out rows, where the user gives none."""
    student_prompt: str
    """The student's system prompt, as the first row has it."""

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(self.counts.values())

    def stream(self) -> Iterator[tuple[int, Example, str]]:
        """Place in the input, row, and the split that it goes to."""
        place = 0
        for source in self.sources:
            for example in read_examples(source):
                carved = self.carving is not None and self.carving.takes(example)
                yield place, example, "test" if carved else source.split
                place += 1


def look_over(config: RunConfig, prompt: TaskPrompt) -> Data:
    """Check every row, count them, and choose the held-out ones. Raises UserError."""
    places = sources(config)
    carving = None if config.data.test else Carving(prompt.group)
    student_prompts: list[str] = []

    def look(example: Example) -> None:
        if not student_prompts:
            student_prompts.append(prompt.student_system(example))
        if carving:
            carving.look(example)

    counts = survey(places, prompt.problem, look).rows
    if carving:
        taken = carving.decide()
        counts = counts | {"validation": counts["validation"] - taken, "test": taken}
    return Data(places, counts, carving, student_prompts[0])


# --- the stage


async def _generate(
    config: RunConfig, prompt: TaskPrompt, data: Data, journal: ReplyJournal, progress: ProgressReporter
) -> StageResult:
    teacher = Teacher(config, prompt, journal, progress)
    workspace = Workspace(Path(config.workspace))
    outputs = Outputs(workspace.stage(config.folder), workspace.root)
    window = Window(config, prompt, data, teacher=teacher, journal=journal, outputs=outputs, progress=progress)
    try:
        try:
            await window.run()
        finally:
            await teacher.close()
        return _result(config, window, outputs.publish(data.student_prompt), journal)
    except StageError as error:
        files = outputs.publish(data.student_prompt) if error.reason is not Reason.STORAGE_FULL else {}
        error.kept = Kept(window.counts(), window.split_counts(), journal.usage, files)
        raise
    finally:
        outputs.drop()


def _result(config: RunConfig, window: Window, files: dict[str, str], journal: ReplyJournal) -> StageResult:
    kept = " and ".join(
        f"{tally.kept:,} of {tally.rows:,} {tally.split} rows"
        for tally in window.tallies.values()
        if tally.split != "test"
    )
    return StageResult(
        stage=config.stage,
        folder=config.folder,
        state=StageState.DONE,
        message=f"Kept {kept}; {window.tallies['test'].rows:,} rows are held out.",
        rows=window.counts(),
        splits=window.split_counts(),
        usage=journal.usage,
        files=files,
    )


class Window:
    """The rows under way: `concurrency` workers over one stream."""

    def __init__(
        self,
        config: RunConfig,
        prompt: TaskPrompt,
        data: Data,
        *,
        teacher: Teacher,
        journal: ReplyJournal,
        outputs: Outputs,
        progress: ProgressReporter,
    ) -> None:
        ratio = config.generation.min_success_ratio
        self.tallies = {
            split: Tally(split, rows, 0 if split == "test" else ratio) for split, rows in data.counts.items()
        }
        self._width = connections_allowed(min(config.generation.concurrency, data.rows))
        self._stream, self._rows, self._carved = data.stream(), data.rows, data.carving is not None
        self._prompt, self._teacher, self._journal = prompt, teacher, journal
        self._outputs, self._progress = outputs, progress
        self._room = asyncio.Event()
        self._error: StageError | None = None

    def counts(self) -> RowCounts:
        """Rows of all splits so far."""
        return total(list(self.tallies.values()))

    def split_counts(self) -> dict[str, RowCounts]:
        """Rows by split so far."""
        return {split: tally.counts() for split, tally in self.tallies.items()}

    async def run(self) -> None:
        """Answer all rows. Raises the StageError that ended it early, after a grace for the calls in flight."""
        loop = asyncio.get_running_loop()
        with on_termination(lambda: loop.call_soon_threadsafe(self._end, Terminated())):
            housekeeping = asyncio.create_task(self._keep_house())
            try:
                await self._work_until_done_or_stopped()
            finally:
                housekeeping.cancel()
        self._report()
        if self._error:
            raise self._error

    async def _work_until_done_or_stopped(self) -> None:
        workers = [asyncio.create_task(self._work()) for _ in range(self._width)]
        stopped = asyncio.create_task(self._teacher.stopping.wait())
        finished: asyncio.Future[Any] = asyncio.gather(*workers)
        either: set[asyncio.Future[Any]] = {finished, stopped}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({finished}, timeout=_GRACE)
        finally:
            for task in (stopped, *workers):
                task.cancel()
            await asyncio.gather(stopped, *workers, return_exceptions=True)
        if finished.done() and not finished.cancelled():
            finished.result()

    async def _work(self) -> None:
        """Take one row after the other until there are none, or the stage ends."""
        try:
            for place, example, split in self._stream:
                outcome = await self._teacher.ask(self._prompt.teacher_messages(example))
                self._take(place, example, split, outcome)
                await self._wait_for_room()
                if self._teacher.stopping.is_set():
                    return
        except Stopping:
            return
        except BudgetSpent as spent:
            self._end(self._budget_error(spent))
        except StageError as error:
            self._end(error)

    def _take(self, place: int, example: Example, split: str, outcome: Reply | Failure) -> None:
        """Judge a row's reply, count it and write it out."""
        judgement, tally = judge(outcome, self._prompt, example.text), self.tallies[split]
        if split == "test":
            row = held_out_row(example, judgement, outcome, self._prompt, carved=self._carved)
            self._outputs.put(place, "test", to_line(row))
            tally.kept += 1
        elif judgement.answer is not None:
            kept = training_row(example, judgement.answer, self._prompt, self._teacher.name)
            self._outputs.put(place, split, to_line(kept))
            tally.kept += 1
        else:
            reason = judgement.reason or ""
            self._outputs.put(place, "rejected", to_line(rejected_row(example, judgement, outcome)))
            self._progress.row_rejected(split, reason)
            tally.reject(reason, outcome if isinstance(outcome, Failure) else None)
            tally.check(teacher_answered=self._teacher.replies > 0)
        if not self._outputs.is_full:
            self._room.set()

    async def _wait_for_room(self) -> None:
        while self._outputs.is_full and not self._teacher.stopping.is_set():
            self._room.clear()
            await self._room.wait()

    def _end(self, error: StageError) -> None:
        """Begin nothing new. The first error is the one that is told."""
        self._error = self._error or error
        self._teacher.stopping.set()
        self._room.set()

    def _budget_error(self, spent: BudgetSpent) -> UserError:
        done = sum(tally.done for tally in self.tallies.values())
        message = (
            f"{spent} (its prompt and the longest reply). {done:,} of {self._rows:,} rows are answered and kept."
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
        self._progress.update(sum(tally.done for tally in self.tallies.values()), self._rows)
