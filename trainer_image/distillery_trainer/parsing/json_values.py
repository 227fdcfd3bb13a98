"""One JSON value: parsed if it is valid, repaired if its errors are small; in bounded time, whatever the text."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any, Final

import json_repair

from distillery_api.formatting import valid_unicode

REPEATED: Final = object()
"""Stands for the values of a key that an object has more than once, where they differ."""

_MAX_INT_DIGITS = 400
_MAX_READS = 500_000
"""Characters that all repairs of one reply may read: json_repair looks ahead and back, for some texts at all of it from
every character."""
_KEYS = re.compile(r"""["']([^"'\n]{1,80})["']\s*:""")
_ESCAPED_HALF_CHARACTERS = re.compile(
    r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def with_whole_characters(text: str) -> str:
    """The text with U+FFFD for half a character (a lone surrogate), which cannot be written to any file."""
    text = valid_unicode(text)
    return _ESCAPED_HALF_CHARACTERS.sub(lambda match: match[1] or "\\ufffd", text) if "\\u" in text else text


def parsed(piece: str) -> Any | None:
    """The value of valid JSON, else None.

    A number that a float cannot hold is a Decimal, and an object's key with two values has REPEATED in their place.
    """
    try:
        return json.loads(
            piece,
            parse_int=_exact_int,
            parse_float=_exact_float,
            parse_constant=_refuse,
            object_pairs_hook=object_without_repetition,
        )
    except (ValueError, RecursionError):
        return None


class Repairs:
    """The repairs of one reply, which share one limit."""

    def __init__(self) -> None:
        self._reads = 0

    def repaired(self, piece: str) -> Any | None:
        """The value of JSON with small errors, such as missing quotes or trailing commas; else None."""
        try:
            return _with_repeated_keys(json_repair.loads(_MeteredText(piece, self), skip_json_loads=True), piece)
        except (ValueError, RecursionError, _TooManyReads):
            return None

    def count(self, reads: int) -> None:
        """Note characters that were read. Raises _TooManyReads beyond the limit."""
        self._reads += reads
        if self._reads > _MAX_READS:
            raise _TooManyReads


class _TooManyReads(Exception):
    pass


class _MeteredText(str):
    """A text that counts how many of its characters are read."""

    _repairs: Repairs

    def __new__(cls, text: str, repairs: Repairs) -> _MeteredText:
        metered = super().__new__(cls, text)
        metered._repairs = repairs
        return metered

    def __getitem__(self, key: Any) -> str:
        found = super().__getitem__(key)
        self._repairs.count(len(found))
        return found


def _with_repeated_keys(value: Any, piece: str) -> Any:
    """A flat object with REPEATED under the keys that stand in its text more than once: json_repair takes the last."""
    if not isinstance(value, dict) or any(isinstance(item, dict | list) for item in value.values()):
        return value
    times = Counter(_KEYS.findall(piece))
    return {key: REPEATED if times[key] > 1 else item for key, item in value.items()}


def _exact_int(literal: str) -> int | Decimal:
    return int(literal) if len(literal) <= _MAX_INT_DIGITS else Decimal(literal)


def _exact_float(literal: str) -> float | Decimal:
    exact = Decimal(literal)
    return float(literal) if Decimal(repr(float(literal))) == exact else exact


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")


def object_without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members, with REPEATED in place of the values of a key that has several."""
    value: dict[str, Any] = {}
    for key, item in pairs:
        value[key] = item if key not in value or value[key] == item else REPEATED
    return value
