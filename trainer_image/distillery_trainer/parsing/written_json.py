"""JSON whose numbers keep the digits that somebody wrote."""

from __future__ import annotations

import json
import math
from typing import Any

from distillery_trainer.data.written_numbers import WrittenNumber
from distillery_trainer.parsing.json_values import REPEATED, object_without_repetition

_MOST_DIGITS = 100
"""Characters of a number. A longer one is no value of an extracted field."""


def parsed_as_written(text: str) -> Any | None:
    """The value of valid JSON with WrittenNumbers for its fractions, else None.

    An object's key with two values has REPEATED in their place, a number that no float can hold makes the JSON invalid.
    """
    try:
        return json.loads(
            text,
            parse_int=_integer,
            parse_float=_fraction,
            parse_constant=_refuse,
            object_pairs_hook=object_without_repetition,
        )
    except (ValueError, RecursionError):
        return None


def value_problem(value: Any) -> str | None:
    """Why a value is no JSON that can be kept, as the end of a sentence; None for one that can."""
    if value is REPEATED:
        return "has a key more than once, with other values"
    if isinstance(value, float) and not math.isfinite(value):
        return "has a number that is not finite"
    if isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
        return f"has a number of more than {_MOST_DIGITS} digits"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, map(value_problem, inner)), None)


def _integer(literal: str) -> int:
    return int(_bounded(literal))


def _fraction(literal: str) -> WrittenNumber:
    number = WrittenNumber(_bounded(literal))
    if not math.isfinite(number):
        raise ValueError("no float can hold the number")
    return number


def _bounded(literal: str) -> str:
    if len(literal) > _MOST_DIGITS:
        raise ValueError("the number is too long")
    return literal


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")
