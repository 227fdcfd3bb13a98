"""Human-readable numbers."""

from __future__ import annotations

from collections.abc import Mapping

from distillery_api.stage_result import Progress


def duration(seconds: float) -> str:
    """Such as `40 s`, `3 min 20 s`, `1 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def progress_text(progress: Progress) -> str:
    """Such as `120 of 560 rows`."""
    if not progress.total:
        return f"{progress.done:,} {progress.unit}" if progress.done else ""
    return f"{progress.done:,} of {progress.total:,} {progress.unit}"


def time_left(progress: Progress) -> str:
    """Such as `about 1 min 30 s left`; empty while there is no estimate."""
    return f"about {duration(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""


def counts_by_name(counts: Mapping[str, int]) -> str:
    """Such as `7 truncated, 3 bad_json`: the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {name}" for name, count in ordered if count)
