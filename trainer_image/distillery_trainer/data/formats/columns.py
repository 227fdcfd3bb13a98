"""Rows of a table whose columns are named in the manifest."""

from __future__ import annotations

import math
from typing import Any

import orjson

from distillery_api.spec import Columns
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    Reader,
    from_texts,
    is_empty,
    listed,
    need_text,
)


def by_columns(columns: Columns) -> Reader:
    """A reader of records with these columns. Cells may be null or empty, except for the prompt."""
    names = {part: name for part, name in columns if name is not None}

    def read(row: dict[str, Any]) -> Conversation:
        for part, name in names.items():
            if name not in row:
                raise InvalidRow(f'the column "{name}" (columns.{part}) is missing; existing columns: {listed(row)}')
        cells = {part: row[name] for part, name in names.items()}
        return from_texts(
            cells.get("system"),
            need_text(cells["prompt"], f'the column "{names["prompt"]}"'),
            cells.get("reply"),
            gold=_as_text(cells.get("gold")),
            row_id=cells.get("id"),
        )

    return read


def _as_text(cell: Any) -> Any:
    """A known answer as in JSON, such as 72, 0.5 or true; or a list of them."""
    if isinstance(cell, list):
        return [_one_as_text(item) for item in cell if not is_empty(item)]
    return _one_as_text(cell)


def _one_as_text(cell: Any) -> Any:
    if isinstance(cell, float) and math.isfinite(cell):
        return orjson.dumps(cell).decode()
    return str(cell).lower() if isinstance(cell, int) else cell
