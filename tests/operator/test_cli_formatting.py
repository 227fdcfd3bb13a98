"""Durations and counts as a person reads them."""

import pytest

from distillery_api.stage_result import Progress
from distillery_operator.cli.formatting import counts_by_name, duration, progress_text


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
