"""Progress of a run: bars on a terminal, plain lines in a pipe."""

import io

import pytest
from rich.console import Console

from distillery_api.stage import Stage, stages_until
from distillery_api.stage_result import Progress, RowCounts, StageOutcome, StageResult
from distillery_operator.cli.console import output
from distillery_operator.cli.progress_display import PlainLines, ProgressBars, failure_counts, run_display
from distillery_operator.core.stage_metrics import StageMetrics


def metrics(**more):
    return StageMetrics(Progress(done=12, total=40, eta_seconds=90), **more)


def test_failed_requests_and_rejected_rows_are_counted():
    counts = failure_counts(metrics(requests={"ok": 30, "http_429": 4, "timeout": 1}, rejected={"truncated": 2}))
    assert counts == "failed requests: 5, rejected rows: 2"
    assert failure_counts(metrics(requests={"ok": 30})) == ""


def done(stage=Stage.GENERATE, **more):
    return StageResult(stage=stage, folder="f", state=StageOutcome.DONE, **{"message": "kept 541 of 560 rows", **more})


def failed(stage=Stage.TRAIN):
    return StageResult(stage=stage, folder="f", state=StageOutcome.FAILED, exit_code=3, message="no answer")


def test_pipe_gets_plain_lines():
    console = Console(file=io.StringIO(), width=100)
    with run_display(console, stages_until(None)) as listener:
        assert isinstance(listener, PlainLines)
        listener.already_done(done())
        listener.started(Stage.TRAIN, 1)
        listener.progressed(Stage.TRAIN, metrics())
        listener.stopping(Stage.TRAIN)
        listener.retrying(failed(), 5, 2, 4)
        listener.started(Stage.TRAIN, 2)
    assert console.file.getvalue().splitlines() == [
        "generate: already done",
        "train: started",
        "train: stopping after saving (Ctrl-C again to stop now)",
        "train: no answer",
        "train: retrying in 5 s (attempt 2 of 4)",
        "train: restarted (attempt 2)",
    ]


def test_plain_lines_print_progress_every_ten_seconds(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("distillery_operator.cli.progress_display.time.monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), width=100)
    lines = PlainLines(console)
    lines.started(Stage.GENERATE, 1)
    for _ in range(25):
        clock[0] += 1
        lines.progressed(Stage.GENERATE, metrics(rejected={"truncated": 2}, requests={"ok": 9, "http_429": 3}))
    lines.done(done())
    progress = "generate: 12 of 40 rows, about 1 min 30 s left, failed requests: 3, rejected rows: 2"
    assert console.file.getvalue().splitlines() == [
        "generate: started",
        progress,
        progress,
        "generate: done in 25 s: kept 541 of 560 rows",
        "generate: failed requests, including retried ones: 3 http_429",
    ]


def test_a_long_stage_has_a_line_every_minute(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("distillery_operator.cli.progress_display.time.monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), width=100)
    lines = PlainLines(console)
    lines.started(Stage.TRAIN, 1)
    for _ in range(4 * 3600):
        clock[0] += 1
        lines.progressed(Stage.TRAIN, metrics())
    said = console.file.getvalue().splitlines()
    assert 230 < len(said) < 265, "four hours have 240 minutes"


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_pipe_that_is_given_colours_gets_lines_too(variable, monkeypatch, capsys):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("TERM", "xterm")
    console = output()
    with run_display(console, stages_until(None)) as listener:
        assert isinstance(listener, PlainLines)
        listener.done(done(message="word " * 40))
    said = capsys.readouterr().out
    assert "\x1b[?25l" not in said, "the cursor is not hidden"
    assert len(said.splitlines()) == 1, "a line of a log is not wrapped"


def test_only_a_preparing_stage_has_a_pulsing_bar():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with run_display(console, stages_until(None)) as listener:
        listener.already_done(done())
        listener.started(Stage.TRAIN, 1)
        assert [task.started for task in listener.progress.tasks] == [True, False, True]
        listener.progressed(Stage.TRAIN, metrics())
        assert [task.percentage for task in listener.progress.tasks] == [100, 30, 0]


def test_terminal_gets_a_bar_for_each_stage():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with run_display(console, stages_until(None)) as listener:
        assert isinstance(listener, ProgressBars)
        listener.already_done(done(rows=RowCounts(read=1)))
        listener.started(Stage.TRAIN, 1)
        listener.progressed(Stage.TRAIN, metrics(requests={"http_429": 3}))
        listener.progress.refresh()
        listener.retrying(failed(), 5, 2, 4)
    text = console.file.getvalue()
    for part in (
        "already done",
        "12 of 40 rows",
        "about 1 min 30 s left",
        "failed requests: 3",
        "no answer",
        "attempt 2",
    ):
        assert part in text
