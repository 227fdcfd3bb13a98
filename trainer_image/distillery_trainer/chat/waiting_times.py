"""How long a server asks to wait, in every form in which servers say it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from pydantic import TypeAdapter, ValidationError

_LONGEST_VALUE = 64
"""Characters. No date and no duration is longer."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\+?inf(inity)?", re.IGNORECASE)
_EPOCH_SECONDS = (1.5e9, 4.1e9)
"""From 2017 to 2099. Nobody asks to wait that many seconds, so such a number is a time."""
_EPOCH_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
"""Seconds, milliseconds and so on since 1970."""
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|µs|ns|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9.]+)([a-zµ]+)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ISO_DURATION: TypeAdapter[timedelta] = TypeAdapter(timedelta)


def seconds_until(value: str, now: datetime) -> float | None:
    """Seconds that a header's value asks to wait, from `now` on; None for what is no time.

    The value is a number of seconds, which may be infinite, a duration such as 6m0s, 20ms or PT1M30S, or a time: an
    HTTP date, an ISO time, or seconds or milliseconds since 1970.
    """
    value = value.strip()
    if len(value) > _LONGEST_VALUE:
        return None
    if _NUMBER.fullmatch(value):
        return _of_number(float(value), now)
    if _DURATION.fullmatch(value):
        return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if value.startswith("P"):
        return _of_iso_duration(value)
    time = parsed_time(value)
    return None if time is None else max(0.0, (time - now).total_seconds())


def _of_number(number: float, now: datetime) -> float:
    earliest, latest = _EPOCH_SECONDS
    times = (number / unit for unit in _EPOCH_UNITS)
    time = next((time for time in times if earliest <= time < latest), None)
    return max(0.0, number if time is None else time - now.timestamp())


def _of_iso_duration(value: str) -> float | None:
    try:
        return max(0.0, _ISO_DURATION.validate_python(value).total_seconds())
    except ValidationError:
        return None


def parsed_time(value: str) -> datetime | None:
    """An HTTP date or ISO time; None for anything else."""
    if len(value) > _LONGEST_VALUE:
        return None
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            time = parse(value)
            return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):  # e-mail's reader raises any of them
            continue
    return None
