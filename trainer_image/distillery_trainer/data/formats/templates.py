"""Templates over the columns of a row, such as "Premise: {premise}", in place of the name of one column."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from distillery_trainer.data.formats.cells import Missing, cell_text, find_cell
from distillery_trainer.data.formats.conversation import InvalidRow, is_empty, listed, named

_TOKENS = re.compile(r"(?P<literal>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<alone>[{}])|(?P<text>[^{}]+)")
_OPTIONAL = "?"


@dataclass(frozen=True)
class Placeholder:
    """A place for a cell."""

    written: str
    """What stands between the braces."""

    def spellings(self) -> Iterator[tuple[str, bool]]:
        """The columns that may be meant, the first that exists being the one, and whether its cell may be empty."""
        yield self.written, False
        stripped = self.written.strip()
        yield stripped, False
        if stripped.endswith(_OPTIONAL):
            yield stripped.removesuffix(_OPTIONAL).rstrip(), True

    @property
    def column(self) -> str:
        """The column that its author has most likely meant, for messages."""
        return list(self.spellings())[-1][0]


def is_template(text: str) -> bool:
    """Whether a text may be a template. A column that has this text as its name goes first."""
    return "{" in text or "}" in text


class Template:
    """A parsed template. `field` is where it stands in the manifest, such as columns.prompt."""

    def __init__(self, text: str, field: str) -> None:
        self._field = field
        self._parts: list[str | Placeholder] = []
        self._doubled: list[str] = []
        """What stands in doubled braces and nothing else, as some other template languages write a placeholder."""
        self._problem = self._parse(text)

    @property
    def placeholders(self) -> list[Placeholder]:
        """The places for cells, in order."""
        return [part for part in self._parts if isinstance(part, Placeholder)]

    def filled(self, row: dict[str, Any]) -> str | None:
        """The text with the cells of a row; None if all of them are empty. Raises InvalidRow."""
        if self._problem:
            raise InvalidRow(f"{self._field}: {self._problem}")
        for name in self._doubled:
            if find_cell(row, name) is not Missing.CELL:
                raise InvalidRow(
                    f"{self._field}: {{{{{name}}}}} stands for the text {{{name}}}; write {{{name}}} for the cell of"
                    " that column"
                )
        texts = [part if isinstance(part, str) else self._text(part, row) for part in self._parts]
        is_filled = any(text for text, part in zip(texts, self._parts, strict=True) if isinstance(part, Placeholder))
        return "".join(texts) if is_filled else None

    def _text(self, placeholder: Placeholder, row: dict[str, Any]) -> str:
        for name, may_be_empty in placeholder.spellings():
            cell = find_cell(row, name)
            if cell is Missing.CELL:
                continue
            text = cell_text(cell, name)
            if not text and not may_be_empty:
                raise InvalidRow(
                    f"the column {named(name)} ({self._field}) is empty; fill it, or write {{{name}?}} where it may be"
                )
            return text
        raise missing_column(placeholder.column, self._field, row)

    def _parse(self, text: str) -> str | None:
        """Fill the parts. Returns what is wrong with the template, as the end of a sentence."""
        tokens = list(_TOKENS.finditer(text))
        for number, token in enumerate(tokens):
            if token["alone"]:
                return f"the brace {token[0]} stands alone; write {{column}} for a cell, and {{{{ or }}}} for a brace"
            if token["name"] is not None and is_empty(token["name"]):
                return "{} names no column; write {column}"
            literal = token[0][0] if token["literal"] else token[0]
            self._parts.append(Placeholder(token["name"]) if token["name"] else literal)
            around = [each[0] for each in tokens[number : number + 3]]
            if len(around) == 3 and around[0] == "{{" and around[2] == "}}" and tokens[number + 1]["text"]:
                self._doubled.append(around[1].strip())
        return None if self.placeholders else "it has no {column}, so all rows would get the same text"


def missing_column(name: str, field: str, row: Collection[str]) -> InvalidRow:
    """The error of a column that a row does not have."""
    return InvalidRow(f"the column {named(name)} ({field}) is missing; existing columns: {listed(row)}")
