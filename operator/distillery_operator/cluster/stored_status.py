"""Reads a status as the API server stores it. After a downgrade a later release has written it: what this release does
not understand is left out, and everything else is kept, or finished stages would run, and cost, again."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from distillery_api.status import DistillationStatus

_ROUNDS = 50
"""To leave out a value may leave its object without what that needs, and so on, for each level of the status."""

Path = tuple[int | str, ...]


def read_stored_status(stored: Mapping[str, Any]) -> DistillationStatus:
    """The status, without the fields, values and items that this release does not understand."""
    try:
        return DistillationStatus.model_validate(stored)
    except ValidationError:
        return _repaired(copy.deepcopy(dict(stored)))


def _repaired(status: dict[str, Any]) -> DistillationStatus:
    for _ in range(_ROUNDS):
        try:
            return DistillationStatus.model_validate(status)
        except ValidationError as error:
            _repair(status, error.errors())
    return DistillationStatus()


def _repair(status: dict[str, Any], errors: Sequence[ErrorDetails]) -> None:
    """Cut what is too long, and leave out what else an error is about."""
    removed: set[Path] = set()
    for error in errors:
        path, longest = error["loc"], error.get("ctx", {}).get("max_length")
        if error["type"] == "string_too_long":
            _replace(status, path, str(error["input"])[:longest])
        elif error["type"] == "too_long":
            _replace(status, path, _understood(path, error["input"])[:longest])
        else:
            removed.add(path[:-1] if error["type"] == "missing" else path)
    # The last items first, so that the paths to the others stay right.
    for path in sorted(removed, key=_order, reverse=True):
        if not any(path[:length] in removed for length in range(len(path))):
            _remove(status, path)


def _order(path: Path) -> tuple[tuple[int, str], ...]:
    """Sorts paths with numbers by number."""
    return tuple((step, "") if isinstance(step, int) else (-1, step) for step in path)


def _understood(path: Path, items: Sequence[Any]) -> list[Any]:
    """The items of a list that is too long, without those that are not understood. Only lists at the top are bounded
    by what this release knows."""
    if len(path) != 1:
        return list(items)
    field = str(path[0])
    kept = (read_stored_status({field: [item]}).to_manifest().get(field) for item in items)
    return [item for item, understood in zip(items, kept, strict=True) if understood]


def _replace(status: dict[str, Any], path: Path, value: Any) -> None:
    parent = _at(status, path[:-1])
    if parent is not None:
        parent[path[-1]] = value


def _remove(status: dict[str, Any], path: Path) -> None:
    """Remove the value at a path; where the path ends inside a value, that value."""
    for length in range(len(path), 0, -1):
        parent, last = _at(status, path[: length - 1]), path[length - 1]
        if isinstance(parent, dict) and last in parent:
            del parent[last]
            return
        if isinstance(parent, list) and isinstance(last, int) and last < len(parent):
            del parent[last]
            return


def _at(status: Any, path: Path) -> Any:
    """The value at a path; None where there is none."""
    for step in path:
        if isinstance(status, dict):
            status = status.get(str(step))
        elif isinstance(status, list) and isinstance(step, int) and step < len(status):
            status = status[step]
        else:
            return None
    return status
