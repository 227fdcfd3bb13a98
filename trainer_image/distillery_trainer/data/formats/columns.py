"""Rows of a table whose columns are named in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from distillery_api.spec import Columns
from distillery_trainer.data.formats.cells import Missing, find_cell
from distillery_trainer.data.formats.conversation import (
    Conversation,
    InvalidRow,
    Reader,
    from_texts,
    gold_text,
    is_empty,
    named,
    need_text,
)
from distillery_trainer.data.formats.option_columns import option_of, option_texts, with_options
from distillery_trainer.data.formats.templates import Template, is_template, missing_column

Cell = Callable[[dict[str, Any]], Any]


def by_columns(columns: Columns) -> Reader:
    """A reader of records with these columns. Cells may be null or empty, except for those of the prompt."""
    prompt, system = _text_of(columns.prompt, "prompt"), _text_of(columns.system, "system")
    reply, gold, row_id = (_cell_of(getattr(columns, part), part) for part in ("reply", "gold", "id"))

    def read(row: dict[str, Any]) -> Conversation:
        system_text = system(row)
        text = _prompt_text(prompt(row), columns.prompt, row)
        known = _as_text(gold(row))
        if columns.options is not None:
            options = option_texts(row, columns.options)
            text, known = with_options(text, options), _letters(known, options, columns.first_option)
        return from_texts(system_text, text, reply(row), gold=known, row_id=row_id(row))

    return read


def possible_columns(columns: Columns) -> frozenset[str]:
    """All names that a column of these may have."""
    as_names = (name for name in (columns.prompt, columns.system) if name is not None)
    return frozenset(name for group in _groups(columns, ()) for name in group).union(as_names)


def needed_columns(columns: Columns, existing: Collection[str]) -> frozenset[str] | None:
    """The columns of a table that are read; None if one of them is missing."""
    found = [next((name for name in group if name in existing), None) for group in _groups(columns, existing)]
    return frozenset(name for name in found if name is not None) if None not in found else None


def _groups(columns: Columns, existing: Collection[str]) -> Iterator[tuple[str, ...]]:
    """The possible names of each cell, of which a table has one; also of the object that a dot leads into."""
    for text, part in ((columns.prompt, "prompt"), (columns.system, "system")):
        if text is not None and is_template(text) and text not in existing:
            placeholders = Template(text, f"columns.{part}").placeholders
            yield from (_with_objects(*(name for name, _ in each.spellings())) for each in placeholders)
        elif text is not None:
            yield _with_objects(text)
    for name in (columns.reply, columns.gold, columns.id, *(columns.options or ())):
        if name is not None:
            yield _with_objects(name)


def _with_objects(*names: str) -> tuple[str, ...]:
    return (*names, *(name.partition(".")[0] for name in names))


def _cell_of(name: str | None, part: str) -> Cell:
    """What reads the cell of a column; null where no column is named."""

    def read(row: dict[str, Any]) -> Any:
        if name is None:
            return None
        cell = find_cell(row, name)
        if cell is Missing.CELL:
            raise missing_column(name, f"columns.{part}", row)
        return cell

    return read


def _text_of(text: str | None, part: str) -> Cell:
    """What reads a message: the cell of the column of this name, or a template over several."""
    cell = _cell_of(text, part)
    if text is None or not is_template(text):
        return cell
    template = Template(text, f"columns.{part}")
    return lambda row: row[text] if text in row else template.filled(row)


def _prompt_text(text: Any, prompt: str, row: dict[str, Any]) -> str:
    """The text of the user message. Raises InvalidRow, which names its column or its template."""
    if prompt in row or not is_template(prompt):
        return need_text(text, f"the column {named(prompt)}")
    if text is None:
        raise InvalidRow("the text of columns.prompt is empty: no column of it has a value")
    return need_text(text, "the text of columns.prompt")


def _letters(gold: Any, options: list[str], first_option: int | None) -> Any:
    """Gold as the letters of options; what is no text is left to the check of gold."""
    if isinstance(gold, list):
        return [_letters(each, options, first_option) for each in gold]
    return option_of(gold, options, first_option) if isinstance(gold, str) and not is_empty(gold) else gold


def _as_text(cell: Any) -> Any:
    """A known answer as it is written, such as 72, 0.50 or true; or a list of them."""
    if isinstance(cell, list):
        return [gold_text(item) for item in cell if not is_empty(item)]
    return gold_text(cell)
