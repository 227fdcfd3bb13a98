"""A stage's metrics as Prometheus text, and what is read in it."""

from __future__ import annotations

import pytest

from distillery_api.stage_result import Progress
from distillery_operator.core.stage_metrics import StageMetrics, parse_stage_metrics

TEXT = """\
# HELP distillery_stage_done Units done.
# TYPE distillery_stage_done gauge
distillery_stage_done{stage="generate",unit="rows"} 120.0
# TYPE distillery_stage_total gauge
distillery_stage_total{stage="generate",unit="rows"} 560.0
# TYPE distillery_teacher_requests_total counter
distillery_teacher_requests_total{outcome="ok"} 118.0
distillery_teacher_requests_total{outcome="http_429"} 6.0
# TYPE distillery_rows_rejected_total counter
distillery_rows_rejected_total{reason="truncated",split="train"} 2.0
distillery_rows_rejected_total{reason="truncated",split="validation"} 1.0
"""


def test_metrics_include_progress_requests_and_rejected_rows() -> None:
    assert parse_stage_metrics(TEXT) == StageMetrics(
        Progress(done=120, total=560, unit="rows"),
        requests={"ok": 118, "http_429": 6},
        rejected={"truncated": 3},
    )


def test_both_gauges_make_a_progress() -> None:
    text = 'distillery_stage_done{unit="steps"} 30.0\ndistillery_stage_total{unit="steps"} 120.0\n'
    assert parse_stage_metrics(text) == StageMetrics(Progress(done=30, total=120, unit="steps"))


def test_a_total_not_yet_known_is_zero() -> None:
    assert parse_stage_metrics('distillery_stage_done{unit="rows"} 7\n') == StageMetrics(
        Progress(done=7, total=0, unit="rows")
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "up 1\n",
        "distillery_stage_done NaN\n",
        "distillery_stage_done +Inf\n",
        "distillery_stage_done 1\ndistillery_stage_total NaN\n",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_stage_metrics(text) is None


def test_a_count_that_is_not_finite_is_left_out() -> None:
    text = 'distillery_stage_done 1\ndistillery_teacher_requests_total{outcome="ok"} NaN\n'
    assert parse_stage_metrics(text) == StageMetrics(Progress(done=1, total=0))


def test_text_of_another_format_is_an_error() -> None:
    with pytest.raises(ValueError, match="html"):
        parse_stage_metrics("<html>\x00</html>")
