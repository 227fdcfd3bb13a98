"""The fields of JSON objects, and how many of them two objects have in common.

A field is a path such as `address.city` or `items[].price`. Absent, null, an empty text, list or object are all "not
given". Lists are compared without their order; the objects in a list are paired, so that the price of one item never
counts as that of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from distillery_trainer.parsing.json_values import with_whole_characters
from distillery_trainer.parsing.written_json import parsed_as_written
from distillery_trainer.text.plain_values import plain_value

Fields = Counter[str]
"""How often each field is given."""

_MOST_PAIRS = 10_000
"""Pairs of objects in two lists that are compared; longer lists are paired in their order."""


@dataclass(frozen=True, slots=True)
class FieldCounts:
    """An answer's fields beside those of its reference."""

    right: Fields
    """Fields of the answer with the value of the reference."""
    answered: Fields
    """Fields of the answer."""
    wanted: Fields
    """Fields of the reference."""


def counts(answer: str | None, reference: str) -> FieldCounts:
    """The fields of two objects, given as JSON. An answer of None has none."""
    one, other = read(answer) if answer is not None else None, read(reference)
    return FieldCounts(shared(one, other), given(one), given(other))


def f1(found: FieldCounts) -> float:
    """The F1 of one answer: 2 right / (answered + wanted), from 0 to 1; 1 where neither object has a field."""
    both = found.answered.total() + found.wanted.total()
    return 2 * found.right.total() / both if both else 1.0


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    """The plain value of JSON."""
    return plain(parsed_as_written(with_whole_characters(text)))


def as_json(value: Any) -> Any:
    """A plain value as JSON-ready data, each number and date as text."""
    if value is None:
        return {}
    kind, content = value
    if kind == "object":
        return {key: as_json(item) for key, item in content}
    return [as_json(item) for item in content] if kind == "list" else content


def plain(value: Any) -> Any:
    """The value in the form in which values are compared: only what is given, as tuples that can be hashed and ordered.
    None for what is not given."""
    if isinstance(value, dict):
        members = [(key, inner) for key, item in sorted(value.items()) if (inner := plain(item)) is not None]
        return ("object", tuple(members)) if members else None
    if isinstance(value, list):
        items = [inner for item in value if (inner := plain(item)) is not None]
        return ("list", tuple(sorted(items, key=repr))) if items else None
    return None if value is None or (isinstance(value, str) and not value.strip()) else plain_value(value)


def given(value: Any, path: str = "") -> Fields:
    """The fields of a plain value."""
    found: Fields = Counter()
    if value is None:
        return found
    kind, content = value
    if kind == "object":
        for key, item in content:
            found += given(item, f"{path}.{key}" if path else key)
    elif kind == "list":
        for item in content:
            found += given(item, f"{path}[]")
    else:
        found[path] += 1
    return found


def shared(first: Any, second: Any, path: str = "") -> Fields:
    """The fields that have the same value in two plain values."""
    if first is None or second is None:
        return Counter()
    if first == second:
        return given(first, path)
    if first[0] != second[0]:
        return Counter()
    if first[0] == "object":
        return _shared_members(dict(first[1]), dict(second[1]), path)
    return _shared_items(list(first[1]), list(second[1]), f"{path}[]") if first[0] == "list" else Counter()


def _shared_members(first: dict[str, Any], second: dict[str, Any], path: str) -> Fields:
    found: Fields = Counter()
    for key in first.keys() & second.keys():
        found += shared(first[key], second[key], f"{path}.{key}" if path else key)
    return found


def _shared_items(first: list[Any], second: list[Any], path: str) -> Fields:
    same = Counter(first) & Counter(second)
    found: Fields = Counter()
    for item, times in same.items():
        for _ in range(times):
            found += given(item, path)
    return found + _shared_in_part(_holders(Counter(first) - same), _holders(Counter(second) - same), path)


def _holders(items: Counter[Any]) -> list[Any]:
    """The items that hold others: two of them may be equal in part."""
    return [item for item in items.elements() if item[0] in ("object", "list")]


def _shared_in_part(first: Sequence[Any], second: Sequence[Any], path: str) -> Fields:
    """The fields that items share with items of another list, each with one of them: those first that share most."""
    if len(first) * len(second) > _MOST_PAIRS:
        return sum((shared(one, other, path) for one, other in zip(first, second, strict=False)), Fields())
    pairs = [
        (shared(one, other, path), row, column) for row, one in enumerate(first) for column, other in enumerate(second)
    ]
    rows, columns = set(range(len(first))), set(range(len(second)))
    found: Fields = Counter()
    for common, row, column in sorted(pairs, key=lambda pair: -pair[0].total()):
        if row in rows and column in columns:
            rows.remove(row)
            columns.remove(column)
            found += common
    return found
