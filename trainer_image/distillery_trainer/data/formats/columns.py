"""Rows of a table whose columns are named in the manifest."""

from __future__ import annotations

import math
from typing import Any

from distillery_api.spec import Columns
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    Reader,
    from_texts,
    is_empty,
    listed,
    named,
    need_text,
)
from distillery_trainer.data.written_numbers import WrittenNumber

_LONGEST_NUMBER = 100
"""Characters of a known answer that is a number."""


def by_columns(columns: Columns) -> Reader:
    """A reader of records with these columns. Cells may be null or empty, except for the prompt."""
    names = columns.names

    def read(row: dict[str, Any]) -> Conversation:
        for part, name in names.items():
            if name not in row:
                raise InvalidRow(
                    f"the column {named(name)} (columns.{part}) is missing; existing columns: {listed(row)}"
                )
        cells = {part: row[name] for part, name in names.items()}
        return from_texts(
            cells.get("system"),
            need_text(cells["prompt"], f"the column {named(columns.prompt)}"),
            cells.get("reply"),
            gold=_as_text(cells.get("gold")),
            row_id=cells.get("id"),
        )

    return read


def _as_text(cell: Any) -> Any:
    """A known answer as it is written, such as 72, 0.50 or true; or a list of them."""
    if isinstance(cell, list):
        return [_one_as_text(item) for item in cell if not is_empty(item)]
    return _one_as_text(cell)


def _one_as_text(cell: Any) -> Any:
    text = _written(cell)
    if text is not cell and len(text) > _LONGEST_NUMBER:
        raise InvalidRow(f"gold is a number of {len(text):,} characters; write it shorter, or as text")
    return text


def _written(cell: Any) -> Any:
    if isinstance(cell, WrittenNumber):
        return cell.text
    if isinstance(cell, float) and math.isfinite(cell):
        return repr(cell)
    return str(cell).lower() if isinstance(cell, int) else cell
