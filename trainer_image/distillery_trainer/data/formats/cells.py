"""The cells of a record, by the name of a column or of a key, and as text."""

from __future__ import annotations

from enum import Enum
from typing import Any

from distillery_trainer.data.formats.conversation import InvalidRow, is_empty, named
from distillery_trainer.data.written_numbers import scalar_text


class Missing(Enum):
    """Stands for a cell that is not there, which differs from one that is null."""

    CELL = "missing"


def find_cell(record: Any, name: str) -> Any:
    """The cell of this name, or where a dot leads into an object or a list: item.question, choices.0.text.
    `Missing.CELL` if there is none."""
    if isinstance(record, list) and name.partition(".")[0].isdecimal():
        number, _, rest = name.partition(".")
        inner = record[int(number)] if int(number) < len(record) else Missing.CELL
        return find_cell(inner, rest) if rest else inner
    if not isinstance(record, dict):
        return Missing.CELL
    if name in record:
        return record[name]
    first, dot, rest = name.partition(".")
    return find_cell(record[first], rest) if dot and first in record else Missing.CELL


def cell_text(cell: Any, name: str) -> str:
    """The text of a cell, empty for null and the like. Raises InvalidRow, which names the cell, for a list or an
    object."""
    text = scalar_text(cell)
    if isinstance(text, str):
        return "" if is_empty(text) else text
    if is_empty(text):
        return ""
    kind = "an object; lead into it with a dot" if isinstance(cell, dict) else "not text"
    raise InvalidRow(f"the column {named(name)} is {kind}")
