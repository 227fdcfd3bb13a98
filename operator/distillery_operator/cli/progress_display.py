"""A run as it goes: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from distillery_api.result import Stage, StageResult, StageState
from distillery_operator.cli.words import by_count, counted, duration
from distillery_operator.local.run import Watcher
from distillery_operator.local.stage_metrics import StageMetrics

LINE_SECONDS = 10.0
ANSWERED = "ok"


@contextmanager
def displayed(console: Console, stages: Sequence[Stage]) -> Iterator[Watcher]:
    """A watcher that shows the run on `console` while the context lasts."""
    if not console.is_terminal:
        yield PlainLines(console)
        return
    bars = Bars(console, stages)
    with bars.progress:
        yield bars


def notes(metrics: StageMetrics) -> str:
    """What a user wonders about while rows come in: calls that failed and rows that were rejected."""
    failed = {outcome: count for outcome, count in metrics.requests.items() if outcome != ANSWERED}
    rejected = sum(metrics.rejected.values())
    told = [f"failed calls: {by_count(failed)}" if failed else "", f"{rejected:,} rejected" if rejected else ""]
    return "; ".join(part for part in told if part)


def ended_line(result: StageResult, seconds: float) -> str:
    """One line about a stage that ended."""
    if result.state is StageState.DONE:
        said = f": {result.message}" if result.message else ""
        return f"{result.stage}: done in {duration(seconds)}{said}"
    return f"{result.stage}: {result.message}"


class PlainLines:
    """For logs and pipes: a line at each turn, and every ten seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._said = time.monotonic()

    def found_done(self, result: StageResult) -> None:
        """Says that the stage was done before."""
        self._say(f"{result.stage}: done before")

    def started(self, stage: Stage, attempt: int) -> None:
        """Says that an attempt begins."""
        self._started = time.monotonic()
        self._say(f"{stage}: started" if attempt == 1 else f"{stage}: started again, attempt {attempt}")

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """Says how far the stage is, now and then."""
        if time.monotonic() - self._said < LINE_SECONDS:
            return
        eta = metrics.progress.eta_seconds
        left = f"about {duration(eta)} left" if eta is not None else ""
        told = [counted(metrics.progress), left, notes(metrics)]
        self._say(f"{stage}: {', '.join(part for part in told if part) or 'getting ready'}")

    def ended(self, result: StageResult) -> None:
        """Says how an attempt ended."""
        self._say(ended_line(result, time.monotonic() - self._started))

    def waits(self, stage: Stage, seconds: float, attempt: int, attempts: int) -> None:
        """Says when the next attempt begins."""
        self._say(f"{stage}: tried again in {duration(seconds)} (attempt {attempt} of {attempts})")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        self._console.print(line, soft_wrap=True, markup=False)


class Bars:
    """For terminals: one bar a stage, and lines above them for what should stay in view."""

    def __init__(self, console: Console, stages: Sequence[Stage]) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TextColumn("[cyan]{task.fields[left]}"),
            TextColumn("[dim]{task.fields[notes]}"),
            console=console,
        )
        self._tasks: dict[Stage, TaskID] = {
            stage: self.progress.add_task(stage, total=1, start=False, count="", left="", notes="") for stage in stages
        }
        self._started = time.monotonic()

    def found_done(self, result: StageResult) -> None:
        """Fills the bar."""
        self._update(result.stage, completed=1, total=1, left="done before")

    def started(self, stage: Stage, attempt: int) -> None:
        """Lets the bar pulse until the stage says how far it is."""
        self._started = time.monotonic()
        self.progress.start_task(self._tasks[stage])
        again = f"attempt {attempt}" if attempt > 1 else ""
        self._update(stage, completed=0, total=None, count="getting ready", left="", notes=again)

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """Moves the bar."""
        progress = metrics.progress
        left = f"about {duration(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""
        self._update(
            stage,
            completed=progress.done,
            total=progress.total or None,
            count=counted(progress) or "getting ready",
            left=left,
            notes=notes(metrics),
        )

    def ended(self, result: StageResult) -> None:
        """Fills the bar of a stage that is done; says what went wrong with another."""
        seconds = time.monotonic() - self._started
        if result.state is StageState.DONE:
            self._update(result.stage, completed=1, total=1, left=f"done in {duration(seconds)}")
        else:
            self._update(result.stage, total=1, completed=0, left="", notes="")
        self.progress.console.print(ended_line(result, seconds), soft_wrap=True, markup=False)

    def waits(self, stage: Stage, seconds: float, attempt: int, attempts: int) -> None:
        """Says when the next attempt begins."""
        self._update(
            stage, count="waiting", notes=f"tried again in {duration(seconds)}, attempt {attempt} of {attempts}"
        )

    def _update(self, stage: Stage, **fields: object) -> None:
        self.progress.update(self._tasks[stage], **fields)  # type: ignore[arg-type]
