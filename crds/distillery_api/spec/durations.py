"""Durations as Kubernetes writes them: 90s, 45m, 12h, 1h30m, and 2d."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from distillery_api.base import matches

_PATTERN = "^([1-9][0-9]{0,4}d)?([1-9][0-9]{0,4}h)?([1-9][0-9]{0,4}m)?([1-9][0-9]{0,4}s)?$"
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

Duration = Annotated[
    str,
    Field(min_length=2, max_length=24),
    matches(_PATTERN, "not a duration; write for example 90s, 45m, 12h, 1h30m or 2d"),
]


def parse_duration(text: str) -> timedelta:
    """The time that a Duration says."""
    parts = re.findall(r"(\d+)([dhms])", text)
    return timedelta(**{_UNITS[unit]: int(number) for number, unit in parts})


def write_duration(time: timedelta) -> str:
    """The time as a Duration says it, to a second up to five minutes and otherwise to a minute; rounded up."""
    seconds = max(1, math.ceil(time.total_seconds()))
    if seconds > 300:
        seconds = 60 * math.ceil(seconds / 60)
    parts = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, length)
        parts.append(f"{number}{unit}" if number else "")
    return "".join(parts)
