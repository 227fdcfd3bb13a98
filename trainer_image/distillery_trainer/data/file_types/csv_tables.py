"""CSV: rows under a header, whose cells may contain quoted line breaks."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from distillery_api.formatting import cleaned
from distillery_api.spec import Columns
from distillery_trainer.data.file_types.csv_delimiters import SEPARATOR_LINE, find_delimiter
from distillery_trainer.data.file_types.record import Record, UnusableFile
from distillery_trainer.data.formats import named
from distillery_trainer.runtime.files import ROW_LIMIT, LineError

COLUMN_LIMIT = 2_000
"""Columns of a table, of any file type."""
_BYTE_ORDER_MARK = "\ufeff"
_SAMPLE_LINES = 20
_SHOWN_BYTES = 200


def csv_records(
    stream: BinaryIO, delimiter: str | None = None, columns: Columns | None = None
) -> Iterator[Record | LineError]:
    """The rows of a file in UTF-8, numbered by their first line.

    Without a `delimiter` it is that of Excel's line `sep=;`, or else the one that makes columns of the first rows.
    """
    csv.field_size_limit(ROW_LIMIT)
    lines = _CsvLines(stream)
    separator = lines.separator()
    rows = csv.reader(lines, delimiter=delimiter or separator or find_delimiter(lines.sample(), columns), strict=True)
    header: list[str] = []
    start = lines.number + 1
    try:
        for cells in rows:
            if cells and not header:
                header = _header(start, cells)
            elif cells:
                yield _csv_record(start, header, cells)
            start = lines.begin_row()
    except csv.Error as error:  # an unclosed quote swallows what follows it, so nothing after it can be trusted
        yield LineError(
            start, f"not CSV ({cleaned(str(error), _SHOWN_BYTES)}); quote text that contains quotes or line breaks"
        )


def check_names(number: int, names: list[str]) -> None:
    """Raise UnusableFile if there are too many columns, LineError if two have one name."""
    if len(names) > COLUMN_LIMIT:
        raise UnusableFile(f"the table has {len(names):,} columns; keep those with the rows, at most {COLUMN_LIMIT:,}")
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise LineError(number, f"two columns have the name {named(name)}")


def _header(number: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    check_names(number, names)
    return names


def _csv_record(number: int, header: list[str], cells: list[str]) -> Record | LineError:
    if len(cells) != len(header):
        return LineError(number, f"the row has {len(cells)} cells, but the header has {len(header)}")
    return number, dict(zip(header, cells, strict=True))


class _CsvLines:
    """The lines of a file as text with their line breaks; each line and each row are of bounded length."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead: list[str] = []
        self._row_characters = 0
        self.number = 0
        """Lines given so far."""

    def separator(self) -> str | None:
        """The delimiter that Excel writes in a first line `sep=;`, which is then read; None without that line."""
        match = SEPARATOR_LINE.match("".join(self._read_ahead(1)))
        if match is None:
            return None
        self._next()
        self.begin_row()
        return "\t" if match["delimiter"] == r"\t" else match["delimiter"]

    def sample(self) -> list[str]:
        """The next lines, which are still to be given."""
        return self._read_ahead(_SAMPLE_LINES)

    def begin_row(self) -> int:
        """Start to measure a row; the number of its first line."""
        self._row_characters = 0
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        while line := self._next():
            self._row_characters += len(line)
            if self._row_characters > ROW_LIMIT:
                raise csv.Error(f"the row is longer than {ROW_LIMIT:,} characters")
            yield line

    def _read_ahead(self, count: int) -> list[str]:
        characters = sum(map(len, self._ahead))
        while len(self._ahead) < count and characters < ROW_LIMIT:
            line = self._read(self.number + len(self._ahead) + 1)
            if not line:
                break
            self._ahead.append(line)
            characters += len(line)
        return self._ahead[:count]

    def _next(self) -> str:
        line = self._ahead.pop(0) if self._ahead else self._read(self.number + 1)
        self.number += 1
        return line

    def _read(self, number: int) -> str:
        line = self._stream.readline(ROW_LIMIT + 1)
        if len(line) > ROW_LIMIT:
            raise LineError(number, f"the line is longer than {ROW_LIMIT:,} bytes; split or shorten the row")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise LineError(number, f"not UTF-8 ({error.reason}); save the file as UTF-8") from error
        return text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
