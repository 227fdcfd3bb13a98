"""When two values of a field say the same: numbers by value, dates by day, other texts apart from their white space.

What could be read in two ways is compared as it is written: 03/04/2026, 1.200, and whatever begins with a zero, such as
a postcode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from distillery_trainer.data.written_numbers import WrittenNumber

_LONGEST = 100
"""Characters of a number or a date."""
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_THOUSANDS_OR_FRACTION = re.compile(r"-?[1-9]\d{0,2}\.\d{3}", re.ASCII)
_MONTHS = [
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
]
_NUMBER_OF_MONTH: Mapping[str, int] = {
    name: number
    for number, month in enumerate(_MONTHS, start=1)
    for name in (month, month[:3], *(["sept"] if month == "september" else []))
}
_MONTH = rf"(?P<name>{'|'.join(sorted(_NUMBER_OF_MONTH, key=len, reverse=True))})\.?"
_DAY, _YEAR = r"(?P<day>\d{1,2})", r"(?P<year>\d{4})"
_ORDINAL = r"(?:st|nd|rd|th|\.)?"
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        rf"{_YEAR}([-/.])(?P<month>\d{{1,2}})\2{_DAY}",
        rf"{_DAY}\.\s?(?P<month>\d{{1,2}})\.\s?{_YEAR}",
        # Only one of the two can be a month.
        rf"(?P<day>1[3-9]|2\d|3[01])([-/])(?P<month>\d{{1,2}})\2{_YEAR}",
        rf"(?P<month>\d{{1,2}})([-/])(?P<day>1[3-9]|2\d|3[01])\2{_YEAR}",
        rf"{_DAY}{_ORDINAL}(?: of)?[ -]{_MONTH}(?:,?[ -]{_YEAR})?",
        rf"(?:the )?{_DAY}{_ORDINAL} of {_MONTH}(?:,? {_YEAR})?",
        rf"{_MONTH}[ -](?:the )?{_DAY}{_ORDINAL}(?:,? {_YEAR})?",
    )
)


def plain_value(value: Any) -> tuple[str, str]:
    """What stands for a string, number or boolean (not null) in a comparison: kind and text."""
    if isinstance(value, bool):
        return "boolean", str(value)
    if isinstance(value, str):
        return _plain_text(" ".join(unicodedata.normalize("NFC", value).split()))
    return "number", _plain_number(value.text if isinstance(value, WrittenNumber) else repr(value))


def _plain_text(text: str) -> tuple[str, str]:
    if len(text) > _LONGEST:
        return "text", text
    if _NUMBER.fullmatch(text) and not _THOUSANDS_OR_FRACTION.fullmatch(text):
        return "number", _plain_number(text.replace(",", ""))
    day = _moment(text) or next((found for pattern in _DATES if (found := _day(pattern.fullmatch(text)))), None)
    return ("date", day) if day else ("text", text)


def _plain_number(literal: str) -> str:
    """The digits of a number, without an exponent and without zeros at the end of its fraction."""
    digits = format(Decimal(literal), "f")
    plain = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return plain if plain.strip("-") != "0" else "0"


def _moment(text: str) -> str | None:
    """A date with a time of day as ISO 8601 writes it; Z is +00:00."""
    if len(text) < 16 or text[4] != "-":
        return None
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return None


def _day(found: re.Match[str] | None) -> str | None:
    """The day of a date; one without a year is a day of every year. None for a day that does not exist."""
    if found is None:
        return None
    parts = found.groupdict()
    month = int(parts["month"]) if "month" in parts else _NUMBER_OF_MONTH[parts["name"].lower()]
    year = parts["year"]
    try:
        # 29 February exists in some year.
        day = date(int(year or 2000), month, int(parts["day"]))
    except ValueError:
        return None
    return day.isoformat() if year else f"--{day:%m-%d}"
