"""What a model calls beside what is right: functions and arguments, in any order of the calls.

Two values are the same where they are equal as JSON, with three liberties: 2 is 2.0; in text, case and white space do
not matter; and an object among acceptable values may have a list of values for each of its keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from scipy.optimize import linear_sum_assignment

from distillery_trainer.data.known_calls import MAY_BE_LEFT_OUT, Acceptable, KnownCalls
from distillery_trainer.data.tool_calls import Call


@dataclass(frozen=True, slots=True)
class Comparison:
    """Calls beside those that are right."""

    functions_right: bool
    """Whether the functions are the right ones, each as often as it is to be called."""
    right: bool
    """Whether all arguments are right as well."""
    right_arguments: int
    answered_arguments: int
    expected_arguments: int
    """Arguments that are given and right, that are given, and that should be."""


def compare(calls: Sequence[Call], known: KnownCalls) -> Comparison:
    """Compare calls with the known ones. Each call counts for at most one of them, so that most arguments are right."""
    options = known.options
    pairs = _pairs(calls, options)
    right = [_right_arguments(calls[call], options[option][1]) for call, option in pairs]
    optional = sum(_optional(calls[call], options[option][1]) for call, option in pairs)
    functions_right = Counter(call.name for call in calls) == Counter(name for name, _ in options)
    return Comparison(
        functions_right=functions_right,
        right=functions_right and all(_is_right(calls[call], options[option][1]) for call, option in pairs),
        right_arguments=sum(right),
        answered_arguments=sum(len(call.arguments) for call in calls),
        expected_arguments=sum(len(_required(values)) for _, values in options) + optional,
    )


def _pairs(calls: Sequence[Call], options: Sequence[Acceptable]) -> list[tuple[int, int]]:
    """Which call is meant as which known one, by their numbers: the same function, and as many right calls as there
    are, then as many right arguments."""
    worth = numpy.array([[_worth(call, option) for option in options] for call in calls])
    if not worth.size:
        return []
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if worth[row, column] > 0]


def _worth(call: Call, option: Acceptable) -> float:
    name, values = option
    if call.name != name:
        return 0
    return 1 + _right_arguments(call, values) + (1000 if _is_right(call, values) else 0)


def _required(values: Mapping[str, list[Any]]) -> list[str]:
    return [name for name, acceptable in values.items() if MAY_BE_LEFT_OUT not in acceptable]


def _optional(call: Call, values: Mapping[str, list[Any]]) -> int:
    """How many arguments are given that may be left out."""
    return sum(name in call.arguments and MAY_BE_LEFT_OUT in acceptable for name, acceptable in values.items())


def _right_arguments(call: Call, values: Mapping[str, list[Any]]) -> int:
    return sum(
        any(same_value(value, acceptable) for acceptable in values.get(name, ()))
        for name, value in call.arguments.items()
    )


def _is_right(call: Call, values: Mapping[str, list[Any]]) -> bool:
    return _right_arguments(call, values) == len(call.arguments) and set(_required(values)) <= call.arguments.keys()


def same_value(value: Any, acceptable: Any) -> bool:
    """Whether a value is an acceptable one."""
    if isinstance(value, bool) or isinstance(acceptable, bool):
        return value is acceptable
    if isinstance(value, str) and isinstance(acceptable, str):
        return _plain(value) == _plain(acceptable)
    if isinstance(value, list) and isinstance(acceptable, list):
        return len(value) == len(acceptable) and all(map(same_value, value, acceptable))
    if isinstance(value, dict) and isinstance(acceptable, dict):
        return _same_object(value, acceptable)
    return bool(value == acceptable)


def _same_object(value: Mapping[str, Any], acceptable: Mapping[str, Any]) -> bool:
    required = {name for name, options in acceptable.items() if MAY_BE_LEFT_OUT not in _options(options)}
    return required <= value.keys() <= acceptable.keys() and all(
        same_value(item, acceptable[name]) or any(same_value(item, option) for option in _options(acceptable[name]))
        for name, item in value.items()
    )


def _options(options: Any) -> list[Any]:
    return options if isinstance(options, list) else []


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
