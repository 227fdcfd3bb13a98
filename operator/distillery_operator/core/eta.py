"""How long a running stage still takes, from its speed so far."""

from __future__ import annotations

from distillery_api.stage_result import Progress


def remaining_seconds(progress: Progress, done_before: int, elapsed: float) -> float | None:
    """The time that the rest takes at the speed of the last `elapsed` seconds, which began with `done_before` units
    done; None where the speed or the total is not known."""
    gained = progress.done - done_before
    if gained <= 0 or elapsed <= 0 or progress.total < progress.done:
        return None
    return (progress.total - progress.done) * elapsed / gained
