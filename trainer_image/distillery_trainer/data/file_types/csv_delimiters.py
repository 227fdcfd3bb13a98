"""What separates the cells of a CSV file, told by its first rows."""

from __future__ import annotations

import contextlib
import csv
import re

from distillery_api.spec import Columns
from distillery_trainer.data.formats import KNOWN_KEYS, possible_columns

_DELIMITERS = ",;\t|"
_ONE_COLUMN = "\0"
"""No delimiter at all, since no text of a row may contain it."""
SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(?P<delimiter>\\t|[^\r\n"])"?\s*$', re.IGNORECASE)
"""Excel's own first line, such as sep=;"""


def find_delimiter(lines: list[str], columns: Columns | None) -> str:
    """The delimiter under which the header has the most names that are looked for; of several, the one that gives all
    first rows as many cells, and then the one with the most cells.

    Under a header of one name each row is one cell, whatever is in it."""
    wanted = possible_columns(columns) if columns else KNOWN_KEYS
    best = max(_DELIMITERS, key=lambda delimiter: _fit(lines, delimiter, wanted))
    return _ONE_COLUMN if len(_header(lines, best)) == 1 else best


def _fit(lines: list[str], delimiter: str, wanted: frozenset[str]) -> tuple[int, bool, int]:
    rows = _rows(lines, delimiter)
    header = _header(lines, delimiter)
    found = len({cell.strip() for cell in header} & wanted)
    return found, len({len(row) for row in rows}) == 1, len(header)


def _header(lines: list[str], delimiter: str) -> list[str]:
    return next(iter(_rows(lines, delimiter)), [])


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    """The whole rows among the lines."""
    reader, rows = csv.reader(lines, delimiter=delimiter, strict=True), list[list[str]]()
    # The last row may go on after these lines, and a wrong delimiter breaks the rule of quotes.
    with contextlib.suppress(csv.Error):
        rows.extend(reader)
    return [row for row in rows if row]
