"""The one lenient reader of structured replies: thoughts aside, whatever stands around the JSON, and mended where a
model has written it a little wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import json_repair
import orjson

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|["{}\[\]]', re.DOTALL)
_MOST_TRIES = 50
"""Brackets of a reply at which a value may begin."""


def without_code_fence(text: str) -> str:
    """What stands in the first code fence; the whole text where there is none."""
    return (match[1] if (match := _FENCE.search(text)) else text).strip()


def find_json(text: str, wanted: Callable[[Any], bool]) -> Any | None:
    """The first JSON object or list in the text that is `wanted`, whatever stands around it.

    Valid ones come first, then those that can be mended (missing or wrong quotes, trailing commas). One that never
    closes was cut off and is not there. None where nothing is wanted.
    """
    pieces = list(_balanced(text))
    valid = (_loaded(piece) for piece in pieces)
    if (found := next(filter(wanted, valid), None)) is not None:
        return found
    return next(filter(wanted, map(_mended, [*pieces, *_widest(text)])), None)


def first_json_object(text: str) -> dict[str, object] | None:
    """The first valid JSON object in the text; None where there is none."""
    return next((value for piece in _balanced(text) if isinstance(value := _loaded(piece), dict)), None)


@dataclass(frozen=True, slots=True)
class Field:
    """What stands under a key of a structured reply."""

    value: Any


def read_field(text: str, key: str) -> Field | Unreadable | None:
    """The value under `key` of the JSON object in a reply; None where the reply is not meant as JSON."""
    found = find_json(text, lambda value: key in _only_object(value))
    if found is not None:
        return Field(_only_object(found)[key])
    if without_code_fence(text).startswith("{") and first_json_object(text) is not None:
        return Unreadable(RejectionReason.BAD_JSON, f'The reply is JSON without the key "{key}".')
    return Unreadable(RejectionReason.BAD_JSON, "The reply is not valid JSON.") if is_meant_as_json(text, key) else None


def read_reason(text: str) -> str | None:
    """The reasoning of a structured reply; None where there is none."""
    field = read_field(without_reasoning(text), "reason")
    return field.value.strip() or None if isinstance(field, Field) and isinstance(field.value, str) else None


def is_meant_as_json(text: str, key: str) -> bool:
    """Whether a reply looks like JSON, good or bad."""
    return without_code_fence(text).startswith(("{", "[")) or f'"{key}"' in text


def _only_object(value: Any) -> dict[str, Any]:
    """An object, or the only one of a list; an empty one for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else {}


def _balanced(text: str) -> Iterator[str]:
    """The pieces from a bracket to its end; a valid one is not looked into."""
    place = 0
    for _ in range(_MOST_TRIES):
        if not (opening := _OPENING.search(text, place)):
            return
        end = _end_of_value(text, opening.start())
        if end is None and opening[0] == "{":  # what is inside of an object that was cut off is not the reply
            return
        if end is None:
            place = opening.end()
            continue
        piece = text[opening.start() : end]
        yield piece
        place = opening.end() if _loaded(piece) is None else end


def _end_of_value(text: str, start: int) -> int | None:
    """Where the bracket at `start` closes, brackets in strings aside."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] == '"':  # a string without end
            return None
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def _widest(text: str) -> list[str]:
    """From the first bracket to the last one; none where a reply was cut off before that."""
    opening, end = _OPENING.search(text), max(text.rfind("}"), text.rfind("]"))
    return [text[opening.start() : end + 1]] if opening and opening.start() < end else []


def _loaded(piece: str) -> Any | None:
    try:
        return orjson.loads(piece)
    except orjson.JSONDecodeError:
        return None


def _mended(piece: str) -> Any | None:
    try:
        return json_repair.loads(piece, skip_json_loads=True)
    except (ValueError, RecursionError):  # nested deeper than any reply is
        return None
