"""The file types of sources: JSON Lines, CSV and Parquet. Each yields numbered records, one at a time, so that memory
does not grow with the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from distillery_api.spec import DataFormat
from distillery_trainer.data.compression import decompressed
from distillery_trainer.data.sources import Source
from distillery_trainer.runtime.files import ROW_LIMIT, LineError, read_lines

Record = tuple[int, dict[str, Any]]
"""Line or row number, from 1, and its content."""

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BYTE_ORDER_MARK = "\ufeff"
_PARQUET_MARK = b"PAR1"
_PARQUET_BATCH = 256
"""Rows decoded at a time."""
_CELL_ERRORS = (ValueError, ArithmeticError, LookupError)
"""Raised for a cell that has no Python value: text that is not UTF-8, a date after the year 9999, …"""
_DELIMITERS = ",;\t|"
_COMPRESSED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")


def records(source: Source, stream: BinaryIO) -> Iterator[Record | LineError]:
    """The records of a source; for an unreadable one, its error."""
    number = 0
    try:
        for item in _read(source, stream):
            number = item.line if isinstance(item, LineError) else item[0]
            yield item
    except LineError as error:
        yield error
    except OSError as error:
        yield LineError(number + 1, f"the rest of the file cannot be read: it is truncated or damaged ({error})")


def _read(source: Source, stream: BinaryIO) -> Iterator[Record | LineError]:
    if _is_parquet(source, stream):
        return parquet_records(stream)
    if _is_csv(source):
        return csv_records(decompressed(stream), "\t" if _suffix(source) == "tsv" else None)
    return json_records(decompressed(stream))


def unit(source: Source) -> str:
    """What a record's number counts: rows or lines."""
    named = source.settings.format is DataFormat.PARQUET or source.name.endswith(".parquet")
    return "row" if named else "line"


def _is_parquet(source: Source, stream: BinaryIO) -> bool:
    start = stream.read(len(_PARQUET_MARK))
    stream.seek(0)
    return source.settings.format is not DataFormat.CSV and (unit(source) == "row" or start == _PARQUET_MARK)


def _is_csv(source: Source) -> bool:
    return source.settings.format is DataFormat.CSV or _suffix(source) in ("csv", "tsv")


def _suffix(source: Source) -> str:
    """The suffix of the file's name, apart from that of a compression."""
    name = source.name
    for suffix in _COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.rpartition(".")[2]


# --- JSON Lines


def json_records(stream: BinaryIO) -> Iterator[Record | LineError]:
    """One JSON object a line."""
    for number, line in read_lines(stream):
        try:
            if isinstance(line, LineError):
                raise line
            yield number, _parse_json(number, line)
        except LineError as error:
            yield error


def _parse_json(number: int, line: bytes) -> dict[str, Any]:
    if line.startswith(_UTF16_MARKS):
        raise LineError(number, "the file is UTF-16; save it as UTF-8")
    if b"\0" in line:
        raise LineError(number, "the line contains a NUL byte; remove it")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(number, f"not JSON ({error}); write one object per line, in UTF-8{_hint(line)}") from error
    if not isinstance(row, dict):
        raise LineError(number, f'not a JSON object; write {{"messages": [...]}}{_hint(line)}')
    return row


def _hint(line: bytes) -> str:
    """How to fix the usual files that are not JSON Lines."""
    if line[:9].lower() in (b"<!doctype", b"<html>", b"<html lan"):
        return "; this is a web page, so use the link to the file itself"
    if line in (b"[", b"{"):
        return "; to convert a single list use `jq -c '.[]' FILE`, for indented objects `jq -c . FILE`"
    return "; to convert a single list use `jq -c '.[]' FILE`" if line.startswith(b"[") else ""


# --- CSV


def csv_records(stream: BinaryIO, delimiter: str | None = None) -> Iterator[Record | LineError]:
    """Rows under a header, whose cells may contain quoted line breaks. The number is that of the row's first line."""
    csv.field_size_limit(ROW_LIMIT)
    lines = _CsvLines(stream)
    rows = csv.reader(lines, delimiter=delimiter or lines.delimiter(), strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in rows:
            if cells and not header:
                header = _header(start, cells)
            elif cells:
                yield _csv_record(start, header, cells)
            start = lines.number + 1
    except csv.Error as error:  # an unclosed quote swallows what follows it, so nothing after it can be trusted
        yield LineError(start, f"not CSV ({error}); quote text that contains quotes or line breaks")


def _header(number: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    _check_names(number, names)
    return names


def _check_names(number: int, names: list[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise LineError(number, f'two columns have the name "{repeated[0]}"')


def _csv_record(number: int, header: list[str], cells: list[str]) -> Record | LineError:
    if len(cells) != len(header):
        return LineError(number, f"the row has {len(cells)} cells, but the header has {len(header)}")
    return number, dict(zip(header, cells, strict=True))


class _CsvLines:
    """The lines of a file as text with their line breaks, each of bounded length."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._first: str | None = None
        self.number = 0
        """Lines read so far."""

    def delimiter(self) -> str:
        """What separates the names in the header: the candidate that occurs most often."""
        self._first = self._read(1)
        return max(_DELIMITERS, key=self._first.count)

    def __iter__(self) -> Iterator[str]:
        while line := self._next():
            self.number += 1
            yield line

    def _next(self) -> str:
        if self._first is not None:
            line, self._first = self._first, None
            return line
        return self._read(self.number + 1)

    def _read(self, number: int) -> str:
        line = self._stream.readline(ROW_LIMIT + 1)
        if len(line) > ROW_LIMIT:
            raise LineError(number, f"the line is longer than {ROW_LIMIT:,} bytes; split or shorten the row")
        if number == 1 and line.startswith(_UTF16_MARKS):
            raise LineError(number, "the file is UTF-16; save it as UTF-8")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise LineError(number, f"not UTF-8 ({error.reason}); save the file as UTF-8") from error
        return text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text


# --- Parquet


def parquet_records(stream: BinaryIO) -> Iterator[Record | LineError]:
    """The rows of a table."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(stream, pre_buffer=False) as table:
            _check_names(1, table.schema_arrow.names)
            for batch in table.iter_batches(_PARQUET_BATCH, use_threads=False):
                yield from _batch_records(batch, number)
                number += batch.num_rows
    except UnicodeDecodeError:
        yield LineError(number + 1, "a column name is not UTF-8; store text as UTF-8")
    except pyarrow.ArrowException as error:
        yield LineError(number + 1, _batch_problem(str(error)))


def _batch_records(batch: Any, before: int) -> Iterator[Record | LineError]:
    """The rows of a batch that follows `before` rows. If not all can be read, each is tried, to name the bad ones."""
    try:
        return enumerate(batch.to_pylist(), start=before + 1)
    except _CELL_ERRORS:
        return (_parquet_record(before + index + 1, batch.slice(index, 1)) for index in range(batch.num_rows))


def _parquet_record(number: int, row: Any) -> Record | LineError:
    cells = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            cells[name] = column[0].as_py()
        except UnicodeDecodeError as error:
            return LineError(number, f'the column "{name}" is not UTF-8 ({error.reason}); store text as UTF-8')
        except _CELL_ERRORS as error:
            return LineError(
                number, f'the column "{name}" cannot be read ({error}); remove it, or store it as UTF-8 text'
            )
    return number, cells


def _batch_problem(error: str) -> str:
    """What is wrong with a batch of which no row can be read."""
    if "UTF8" in error:
        return f"text from here on is not UTF-8 ({error}); store text as UTF-8"
    first_line, _, _ = error.partition("\n")
    return f"not Parquet, or damaged ({first_line})"
