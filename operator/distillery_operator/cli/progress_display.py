"""A run as it goes: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from distillery_api.usage import Estimate
from distillery_operator.cli.formatting import counts_by_name, duration, progress_text
from distillery_operator.core.stage_metrics import StageMetrics
from distillery_operator.local.run import RunListener

LINE_SECONDS = 10.0
ANSWERED = "ok"
STOPPING = "stopping, once what is in hand is saved (again: at once)"


@contextmanager
def displayed(console: Console, stages: Sequence[Stage]) -> Iterator[RunListener]:
    """A watcher that shows the run on `console` while the context lasts."""
    if not console.is_terminal:
        yield PlainLines(console)
        return
    bars = Bars(console, stages)
    with bars.progress:
        yield bars


def notes(metrics: StageMetrics) -> str:
    """What a user wonders about while rows come in: how many calls failed and how many rows were rejected."""
    failed, rejected = sum(failed_calls(metrics).values()), sum(metrics.rejected.values())
    told = [f"{failed:,} calls failed" if failed else "", f"{rejected:,} rejected" if rejected else ""]
    return ", ".join(part for part in told if part)


def failed_calls(metrics: StageMetrics) -> dict[str, int]:
    """Calls to the teacher that gave no reply, by outcome; most are tried again."""
    return {outcome: count for outcome, count in metrics.requests.items() if outcome != ANSWERED}


def done_lines(result: StageResult, seconds: float, last: StageMetrics | None) -> list[str]:
    """What is to be said about a stage that is done; `last` is the last that it told of itself."""
    said = f": {result.message}" if result.message else ""
    failed = failed_calls(last) if last else {}
    tries = [f"{result.stage}: calls that failed at first: {counts_by_name(failed)}"] if failed else []
    return [f"{result.stage}: done in {duration(seconds)}{said}", *tries]


class PlainLines:
    """For logs and pipes: a line at each turn, and every ten seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._said = time.monotonic()
        self._last: StageMetrics | None = None

    def found_done(self, result: StageResult) -> None:
        """Says that the stage was done before."""
        self._say(f"{result.stage}: done before")

    def started(self, stage: Stage, attempt: int) -> None:
        """Says that an attempt begins."""
        self._started, self._last = time.monotonic(), None
        self._say(f"{stage}: started" if attempt == 1 else f"{stage}: started again, attempt {attempt}")

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """Says how far the stage is, now and then."""
        self._last = metrics
        if time.monotonic() - self._said < LINE_SECONDS:
            return
        eta = metrics.progress.eta_seconds
        left = f"about {duration(eta)} left" if eta is not None else ""
        told = [progress_text(metrics.progress), left, notes(metrics)]
        self._say(f"{stage}: {', '.join(part for part in told if part) or 'getting ready'}")

    def estimated(self, stage: Stage, estimate: Estimate) -> None:
        """Says what the teacher will cost."""
        self._say(f"{stage}: expected: {estimate.sentence()}")

    def stopping(self, stage: Stage) -> None:
        """Says that the stage takes its time to stop."""
        self._say(f"{stage}: {STOPPING}")

    def done(self, result: StageResult) -> None:
        """Says what came of a stage."""
        for line in done_lines(result, time.monotonic() - self._started, self._last):
            self._say(line)

    def waits(self, result: StageResult, seconds: float, attempt: int, attempts: int) -> None:
        """Says what went wrong and when the next attempt begins."""
        self._say(f"{result.stage}: {result.message}")
        self._say(f"{result.stage}: tried again in {duration(seconds)} (attempt {attempt} of {attempts})")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        self._console.print(line, soft_wrap=True, markup=False)


class Bars:
    """For terminals: one bar a stage, and lines above them for what should stay in view."""

    def __init__(self, console: Console, stages: Sequence[Stage]) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TextColumn("[cyan]{task.fields[left]}"),
            TextColumn("[dim]{task.fields[notes]}"),
            console=console,
        )
        self._tasks: dict[Stage, TaskID] = {
            stage: self.progress.add_task(stage, total=1, count="", left="", notes="") for stage in stages
        }
        self._started = time.monotonic()
        self._last: StageMetrics | None = None

    def found_done(self, result: StageResult) -> None:
        """Fills the bar."""
        self._update(result.stage, completed=1, total=1, left="done before")

    def started(self, stage: Stage, attempt: int) -> None:
        """Lets the bar pulse until the stage says how far it is."""
        self._started, self._last = time.monotonic(), None
        again = f"attempt {attempt}" if attempt > 1 else ""
        # A task of rich's that has not started pulses.
        self.progress.reset(self._tasks[stage], start=False, count="getting ready", left="", notes=again)

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """Moves the bar."""
        self._last, progress = metrics, metrics.progress
        if progress.total:
            self.progress.start_task(self._tasks[stage])
        left = f"about {duration(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""
        self._update(
            stage,
            completed=progress.done,
            total=progress.total or 1,
            count=progress_text(progress) or "getting ready",
            left=left,
            notes=notes(metrics),
        )

    def estimated(self, stage: Stage, estimate: Estimate) -> None:
        """Says what the teacher will cost."""
        self._print(f"{stage}: expected: {estimate.sentence()}")

    def stopping(self, stage: Stage) -> None:
        """Says that the stage takes its time to stop."""
        self._print(f"{stage}: {STOPPING}")

    def done(self, result: StageResult) -> None:
        """Fills the bar."""
        seconds = time.monotonic() - self._started
        left = f"done in {duration(seconds)}"
        self.progress.start_task(self._tasks[result.stage])
        self._update(result.stage, completed=1, total=1, count=self._all(), left=left, notes="")
        for line in done_lines(result, seconds, self._last):
            self._print(line)

    def _all(self) -> str:
        """The whole of what was counted: the stage may have ended since it was last looked at."""
        if self._last is None:
            return ""
        total = self._last.progress.total or self._last.progress.done
        return progress_text(self._last.progress.model_copy(update={"done": total, "total": 0}))

    def waits(self, result: StageResult, seconds: float, attempt: int, attempts: int) -> None:
        """Says what went wrong and when the next attempt begins."""
        self._print(f"{result.stage}: {result.message}")
        again = f"tried again in {duration(seconds)}, attempt {attempt} of {attempts}"
        self._update(result.stage, completed=0, total=1, count="waiting", left="", notes=again)

    def _print(self, line: str) -> None:
        self.progress.console.print(line, soft_wrap=True, markup=False)

    def _update(self, stage: Stage, **fields: object) -> None:
        self.progress.update(self._tasks[stage], **fields)  # type: ignore[arg-type]
