"""Lines of JSON that carry a checksum, in files that are appended to and read again after a crash.

    {"key": ..., "spent": 140,"crc32":"8d3f0a41"}

The checksum is the CRC-32 of all bytes before it, so a damaged line is never mistaken for what was written. Lines of
releases without checksums are read as well. What a line may hold is for its reader to check: a line of a newer release
is none that this one can use.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

_NAME = b',"crc32":"'
_END = b'"}'
_BEGIN = b'{"'
"""The beginning of an object, and nothing else: inside a string, the quote would be escaped."""
_LENGTH = len(_NAME) + 8 + len(_END)
_NESTED = 4
"""Objects at the end of a line that are tried as its whole row, from the last; more than a row has in it."""


def checked_line(row: Any) -> bytes:
    """A row (dict or dataclass, with one field at least) as a line with its checksum, including the line end."""
    return with_checksum(orjson.dumps(row))


def with_checksum(row: bytes) -> bytes:
    """A JSON object with one field at least as a line with its checksum, including the line end."""
    body = row.removesuffix(b"}")
    return b"%b%b%b%b\n" % (body, _NAME, _digits(body), _END)


def read_line(line: bytes) -> dict[str, Any] | None:
    """The row of a line, without its checksum; None for a damaged line."""
    line = line.rstrip(b"\n")
    body, checksum = line[:-_LENGTH], line[-_LENGTH:]
    has_checksum = checksum.startswith(_NAME)
    if has_checksum and checksum != b"%b%b%b" % (_NAME, _digits(body), _END):
        return None
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or (row.pop("crc32", None) is not None) is not has_checksum:
        return None
    return row


def _digits(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line of a file."""

    number: int
    """From 1."""
    offset: int
    """Where its row begins, in bytes."""
    row: dict[str, Any] | None
    """None for a damaged line."""


def read_lines(stream: Iterable[bytes]) -> Iterator[ReadLine]:
    """The lines of a file. An incomplete last line, as a kill leaves it, is left out.

    Whatever stands before a whole row on its line (a torn row, one whose line end is damaged, the zero bytes of a power
    failure) does not hide it: it is a damaged line of its own.
    """
    offset = 0
    for number, line in enumerate(stream, start=1):
        if line.endswith(b"\n"):
            yield from _rows_of(number, offset, line)
        offset += len(line)


def _rows_of(number: int, offset: int, line: bytes) -> Iterator[ReadLine]:
    row = read_line(line)
    yield ReadLine(number, offset, row)
    if row is None and (begin := _last_row(line)):
        yield ReadLine(number, offset + begin, read_line(line[begin:]))


def _last_row(line: bytes) -> int | None:
    """Where the whole row at the end of a damaged line begins."""
    begin = len(line) if line[:-1][-_LENGTH:].startswith(_NAME) else 0
    for _ in range(_NESTED):
        begin = line.rfind(_BEGIN, 0, max(begin, 0))
        if begin > 0 and read_line(line[begin:]) is not None:
            return begin
    return None


@dataclass(slots=True)
class DamagedLines:
    """How many lines could not be used, and where the first of them is."""

    count: int = 0
    first: str = ""
    """Its file and line, for people."""

    def add(self, path: Path, number: int) -> None:
        """Count a line of a file; one that is missing has the number 0."""
        self.first = self.first or (f"{path}, line {number:,}" if number else f"missing in {path}")
        self.count += 1

    def __str__(self) -> str:
        if self.count == 1:
            return f"A line is damaged, or of a newer release, and is left out: {self.first}."
        return f"{self.count:,} lines are damaged, or of a newer release, and are left out; the first is {self.first}."
