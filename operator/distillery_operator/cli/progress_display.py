"""The progress of a run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from distillery_api.usage import Estimate
from distillery_operator.cli.formatting import counts_by_name, duration, progress_text, time_left
from distillery_operator.cli.layout import say
from distillery_operator.core.stage_metrics import StageMetrics
from distillery_operator.local.run import RunListener

LINE_SECONDS = 10.0
"""Time between lines about the progress of a stage, at first."""
MOST_LINE_SECONDS = 60.0
_LINES = 10
"""Lines about the progress of a stage, until they are as rare as they get."""
SUCCESS = "ok"
"""Outcome of a request that got a reply."""
PREPARING = "preparing"
STOPPING = "stopping after saving (Ctrl-C again to stop now)"


@contextmanager
def run_display(console: Console, stages: Sequence[Stage]) -> Iterator[RunListener]:
    """A listener that shows the run on `console` while the context lasts."""
    if not console.is_interactive:
        yield PlainLines(console)
        return
    bars = ProgressBars(console, stages)
    with bars.progress:
        yield bars


def failure_counts(metrics: StageMetrics) -> str:
    """Numbers of failed requests and rejected rows, such as `failed requests: 5, rejected rows: 2`."""
    failed, rejected = sum(failed_requests(metrics).values()), sum(metrics.rejected.values())
    counts = [f"failed requests: {failed:,}" if failed else "", f"rejected rows: {rejected:,}" if rejected else ""]
    return ", ".join(count for count in counts if count)


def failed_requests(metrics: StageMetrics) -> dict[str, int]:
    """Requests to the teacher that got no reply, by outcome. Most are retried."""
    return {outcome: count for outcome, count in metrics.requests.items() if outcome != SUCCESS}


def done_lines(result: StageResult, seconds: float, last: StageMetrics | None) -> list[str]:
    """Lines about a finished stage. `last` are the last metrics that it reported."""
    message = f": {result.message}" if result.message else ""
    failed = failed_requests(last) if last else {}
    failures = [f"{result.stage}: failed requests, including retried ones: {counts_by_name(failed)}"] if failed else []
    return [f"{result.stage}: done in {duration(seconds)}{message}", *failures]


class PlainLines:
    """For logs, pipes and terminals that cannot move the cursor: a line for each event, and in between one every ten
    seconds, and every minute of a stage that takes long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._last_printed = time.monotonic()
        self._last: StageMetrics | None = None

    def already_done(self, result: StageResult) -> None:
        """Print that the stage was done before."""
        self._print(f"{result.stage}: already done")

    def started(self, stage: Stage, attempt: int) -> None:
        """Print that an attempt starts."""
        self._started, self._last = time.monotonic(), None
        self._print(f"{stage}: started" if attempt == 1 else f"{stage}: restarted (attempt {attempt})")

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """Print the progress, if it is time."""
        self._last, now = metrics, time.monotonic()
        if now - self._last_printed < min(MOST_LINE_SECONDS, max(LINE_SECONDS, (now - self._started) / _LINES)):
            return
        parts = [progress_text(metrics.progress), time_left(metrics.progress), failure_counts(metrics)]
        self._print(f"{stage}: {', '.join(part for part in parts if part) or PREPARING}")

    def estimated(self, stage: Stage, estimate: Estimate) -> None:
        """Print the estimate."""
        self._print(f"{stage}: estimate: {estimate.sentence()}")

    def stopping(self, stage: Stage) -> None:
        """Print that the stage saves its work before it stops."""
        self._print(f"{stage}: {STOPPING}")

    def done(self, result: StageResult) -> None:
        """Print the stage's result."""
        for line in done_lines(result, time.monotonic() - self._started, self._last):
            self._print(line)

    def retrying(self, result: StageResult, seconds: float, attempt: int, attempts: int) -> None:
        """Print why the attempt failed and when the next one starts."""
        self._print(f"{result.stage}: {result.message}")
        self._print(f"{result.stage}: retrying in {duration(seconds)} (attempt {attempt} of {attempts})")

    def _print(self, line: str) -> None:
        self._last_printed = time.monotonic()
        say(self._console, line)


class ProgressBars:
    """For terminals: a bar for each stage, and above them lines that stay in view."""

    def __init__(self, console: Console, stages: Sequence[Stage]) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TextColumn("[cyan]{task.fields[left]}"),
            TextColumn("[dim]{task.fields[remark]}"),
            console=console,
        )
        self._tasks: dict[Stage, TaskID] = {
            stage: self.progress.add_task(stage, total=1, count="", left="", remark="") for stage in stages
        }
        self._started = time.monotonic()
        self._last: StageMetrics | None = None

    def already_done(self, result: StageResult) -> None:
        """Fill the bar."""
        self._update(result.stage, completed=1, total=1, left="already done")

    def started(self, stage: Stage, attempt: int) -> None:
        """Let the bar pulse until the stage reports progress."""
        self._started, self._last = time.monotonic(), None
        remark = f"attempt {attempt}" if attempt > 1 else ""
        # In rich, a task that has not started pulses.
        self.progress.reset(self._tasks[stage], start=False, count=PREPARING, left="", remark=remark)

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """Move the bar."""
        self._last, progress = metrics, metrics.progress
        if progress.total:
            self.progress.start_task(self._tasks[stage])
        self._update(
            stage,
            completed=progress.done,
            total=progress.total or 1,
            count=progress_text(progress) or PREPARING,
            left=time_left(progress),
            remark=failure_counts(metrics),
        )

    def estimated(self, stage: Stage, estimate: Estimate) -> None:
        """Print the estimate."""
        self._print(f"{stage}: estimate: {estimate.sentence()}")

    def stopping(self, stage: Stage) -> None:
        """Print that the stage saves its work before it stops."""
        self._print(f"{stage}: {STOPPING}")

    def done(self, result: StageResult) -> None:
        """Fill the bar and print the stage's result."""
        seconds = time.monotonic() - self._started
        left = f"done in {duration(seconds)}"
        self.progress.start_task(self._tasks[result.stage])
        self._update(result.stage, completed=1, total=1, count=self._total_count(), left=left, remark="")
        for line in done_lines(result, seconds, self._last):
            self._print(line)

    def _total_count(self) -> str:
        """The total of the last metrics, which may be from before the end of the stage."""
        if self._last is None:
            return ""
        total = self._last.progress.total or self._last.progress.done
        return progress_text(self._last.progress.model_copy(update={"done": total, "total": 0}))

    def retrying(self, result: StageResult, seconds: float, attempt: int, attempts: int) -> None:
        """Print why the attempt failed, and show when the next one starts."""
        self._print(f"{result.stage}: {result.message}")
        remark = f"retrying in {duration(seconds)}, attempt {attempt} of {attempts}"
        self._update(result.stage, completed=0, total=1, count="waiting", left="", remark=remark)

    def _print(self, line: str) -> None:
        say(self.progress.console, line)

    def _update(self, stage: Stage, **fields: object) -> None:
        self.progress.update(self._tasks[stage], **fields)  # type: ignore[arg-type]
