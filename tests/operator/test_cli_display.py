import io
from pathlib import Path

import pytest
from rich.console import Console

from distillery_api.stage import Stage
from distillery_api.stage_result import Progress, RowCounts, StageOutcome, StageResult
from distillery_operator.cli.formatting import counts_by_name, duration, progress_text
from distillery_operator.cli.progress_display import PlainLines, ProgressBars, failure_counts, run_display
from distillery_operator.cli.result_table import show_result
from distillery_operator.core.stage_metrics import StageMetrics
from distillery_operator.local.run_result import RunResult

RESULT = {
    "name": "conjnli",
    "state": "Done",
    "reason": "Succeeded",
    "rows": {"read": 560, "kept": 541, "rejected": 19, "rejectedByReason": {"bad_json": 7, "truncated": 12}},
    "usage": {"requests": 1612, "inputTokens": 120345, "outputTokens": 23456},
    "evaluation": {
        "sampleSize": 120,
        "heldOutFromValidation": True,
        "device": "cpu",
        "teacher": {
            "score": 0.9,
            "low": 0.85,
            "high": 0.93,
            "macroF1": 0.89,
            "unreadable": 0.025,
            "promptTokens": 212.3,
            "answerTokens": 37.9,
            "latencySeconds": 0.812,
        },
        "baseTeacherPrompt": {"score": 0.4},
        "base": {"score": 0.0},
        "student": {"score": 0.85, "low": 0.79, "high": 0.9},
        "majority": {"score": 0.38},
        "shallow": {"score": 0.45},
        "gapClosed": 0.9,
        "pValue": 0.00001,
    },
    "files": {"model": "train-a/model", "predictions": "evaluate-a/predictions.jsonl"},
}


def shown(result, width=100):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_result(console, RunResult.model_validate(result), Path("runs/conjnli"))
    return console.file.getvalue()


def row(text, start):
    return next(line.split() for line in text.splitlines() if line.strip().startswith(start))


def test_table_shows_the_figures_of_every_system():
    text = shown(RESULT)
    assert row(text, "Teacher")[2:] == ["0.900", "0.85-0.93", "0.890", "2.5%", "212", "37.9", "0.81s"]
    assert row(text, "Student") == ["Student", "student", "0.850", "0.79-0.90"]
    assert row(text, "Majority") == ["Majority", "-", "0.380"]
    assert row(text, "Shallow") == ["Shallow", "-", "0.450"]
    assert [line.split()[2:4] for line in text.splitlines() if "Base model" in line] == [
        ["teacher", "0.400"],
        ["student", "0.000"],
    ]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_table_cuts_nothing_off(width):
    text = shown(RESULT, width)
    assert "…" not in text
    assert row(text, "Teacher")[-1] == "0.81s"


SUMMARIES = {
    **RESULT,
    "evaluation": {
        "metric": "rougeL",
        "sampleSize": 200,
        "partlySupervised": True,
        "judge": "gpt-4o",
        "teacher": {"score": 0.4, "rouge1": 0.51, "rouge2": 0.22, "words": 74.2, "winRate": 0.625, "latencySeconds": 1},
        "baseTeacherPrompt": {
            "score": 0.1,
            "rouge1": 0.2,
            "rouge2": 0.05,
            "promptTokens": 812.3,
            "answerTokens": 611.7,
        },
        "base": {"score": 0.2, "rouge1": 0.31, "rouge2": 0.12, "words": 40, "unreadable": 0.125},
        "student": {
            "score": 0.31,
            "low": 0.29,
            "high": 0.33,
            "rouge1": 0.42,
            "rouge2": 0.17,
            "words": 61.5,
            "winRate": 0.3,
            "entityDensity": 0.134,
            "faithfulness": 0.91,
            "inventedNumbers": 0.045,
        },
        "lead": {"score": 0.28, "rouge1": 0.4, "rouge2": 0.16, "words": 80, "inventedNumbers": 0},
        "pValue": 0.0123,
    },
}


@pytest.mark.parametrize("width", [80, 140])
def test_texts_get_a_second_table(width):
    text = shown(SUMMARIES, width)
    students = [line.split() for line in text.splitlines() if line.strip().startswith("Student")]
    assert students == [
        ["Student", "student", "0.310", "0.29-0.33", "30.0%"],
        ["Student", "student", "0.420", "0.170", "61.5", "0.134", "91.0%", "4.5%"],
    ]
    assert row(text, "Lead") == ["Lead", "-", "0.280"]
    assert "Macro" not in text
    assert "Perplexity" not in text
    assert "…" not in text


def test_lines_about_texts_name_the_judge_the_test_and_the_supervision():
    text = shown(SUMMARIES)
    assert "ROUGE-L on 200 held-out rows, against gold" in text
    assert "p = 0.012 (paired bootstrap)" in text
    assert "Win rate: share of rows on which gpt-4o prefers the answer" in text
    assert "the student is partly supervised" in text
    assert "Lead: the first words of the source" in text
    assert "Majority" not in text


def test_agreement_with_the_teacher_is_called_so():
    table = {**SUMMARIES["evaluation"], "metric": "agreement", "teacher": None}
    text = shown({**SUMMARIES, "evaluation": table})
    assert "Agreement (ROUGE-L) on 200 held-out rows, against the teacher's answers" in text


def test_lines_below_the_table_explain_it():
    text = shown(RESULT)
    assert "Gap closed: 0.90 of the gap between base model and teacher" in text
    assert "p < 0.001 (McNemar)" in text
    assert "120 held-out rows are a small sample" in text
    assert "There is no test split" in text


def test_large_sample_is_not_called_small():
    large = {**RESULT, "evaluation": {**RESULT["evaluation"], "sampleSize": 150}}
    assert "small sample" not in shown(large)


def test_rows_usage_and_files_are_printed():
    text = shown(RESULT)
    assert "Rows: 560 read, 541 kept, 19 rejected: 12 truncated, 7 bad_json." in text
    assert "Teacher: 1,612 requests, 120,345 input tokens, 23,456 output tokens." in text
    assert "runs/conjnli/train-a/model" in text
    assert "runs/conjnli/result.json" in text


def test_cost_cached_and_reasoning_tokens_are_printed_beside_the_tokens():
    usage = {**RESULT["usage"], "cachedInputTokens": 100000, "reasoningTokens": 9000, "cost": 1.6, "currency": "USD"}
    estimate = {"rows": 1, "requests": 1, "inputTokens": 1, "outputTokens": 1, "lowTokens": 1, "highTokens": 1}
    text = shown({**RESULT, "usage": usage, "estimate": {**estimate, "cost": 1.46, "currency": "USD"}}, width=200)
    assert (
        "Teacher: 1,612 requests, 120,345 input tokens (100,000 cached), 23,456 output tokens (9,000 reasoning);"
        " 1.60 USD (1.46 expected)."
    ) in text


def test_run_without_scores_shows_no_table():
    text = shown({**RESULT, "evaluation": None})
    assert "held-out" not in text
    assert "Rows: 560 read" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (3900, "1 h 5 min")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_counts_are_formatted():
    assert progress_text(Progress(done=1200, total=5600)) == "1,200 of 5,600 rows"
    assert progress_text(Progress(done=3, total=0, unit="steps")) == "3 steps"
    assert progress_text(Progress(done=0, total=0)) == ""
    assert counts_by_name({"a": 1, "b": 3, "c": 0}) == "3 b, 1 a"


def metrics(**more):
    return StageMetrics(Progress(done=12, total=40, eta_seconds=90), **more)


def test_failed_requests_and_rejected_rows_are_counted():
    counts = failure_counts(metrics(requests={"ok": 30, "http_429": 4, "timeout": 1}, rejected={"truncated": 2}))
    assert counts == "failed requests: 5, rejected rows: 2"
    assert failure_counts(metrics(requests={"ok": 30})) == ""


def done(stage=Stage.GENERATE, **more):
    return StageResult(stage=stage, folder="f", state=StageOutcome.DONE, message="kept 541 of 560 rows", **more)


def failed(stage=Stage.TRAIN):
    return StageResult(stage=stage, folder="f", state=StageOutcome.FAILED, exit_code=3, message="no answer")


def test_pipe_gets_plain_lines():
    console = Console(file=io.StringIO(), width=100)
    with run_display(console, list(Stage)) as listener:
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


def test_only_a_preparing_stage_has_a_pulsing_bar():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with run_display(console, list(Stage)) as listener:
        listener.already_done(done())
        listener.started(Stage.TRAIN, 1)
        assert [task.started for task in listener.progress.tasks] == [True, False, True]
        listener.progressed(Stage.TRAIN, metrics())
        assert [task.percentage for task in listener.progress.tasks] == [100, 30, 0]


def test_terminal_gets_a_bar_for_each_stage():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with run_display(console, list(Stage)) as listener:
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
