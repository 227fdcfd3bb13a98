"""How long a stage still takes."""

from __future__ import annotations

import pytest

from distillery_api.stage_result import Progress
from distillery_operator.core.eta import remaining_seconds


@pytest.mark.parametrize(
    ("done", "total", "done_before", "elapsed", "expected"),
    [
        (50, 100, 40, 10.0, 50.0),
        (25, 100, 0, 100.0, 300.0),
        (100, 100, 0, 10.0, 0.0),
        (40, 100, 40, 10.0, None),
        (50, 100, 0, 0.0, None),
        (5, 0, 0, 10.0, None),
    ],
)
def test_the_rest_takes_its_time_at_the_speed_so_far(
    done: int, total: int, done_before: int, elapsed: float, expected: float | None
) -> None:
    assert remaining_seconds(Progress(done=done, total=total), done_before, elapsed) == expected
