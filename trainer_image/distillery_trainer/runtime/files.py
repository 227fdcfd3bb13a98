"""Reads and writes the files of a stage: line by line, in constant memory, and never half written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from distillery_api.runtime import atomic_files
from distillery_api.runtime.line_checksums import checked_lines, checksum, checksums_file, checksums_path
from distillery_trainer.runtime.checked_lines import DamagedLines
from distillery_trainer.runtime.errors import storage_errors_explained

ROW_LIMIT = 1024 * 1024
"""Maximum length of a line, in bytes. The rest of a longer line is skipped."""

_BLANK_LINES = 1_000_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineError(Exception):
    """A line that breaks a rule. The message is the rule, without file and line number."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(rule)
        self.line, self.rule = line, rule


# --- reading


def read_lines(stream: BinaryIO, limit: int = ROW_LIMIT) -> Iterator[tuple[int, bytes | LineError]]:
    """The number (from 1) and the bytes of each line that is not blank, without line end and byte order mark.

    A line of more than `limit` bytes is replaced by a LineError; at most `limit` bytes of it are in memory. Raises
    LineError for a file that is nothing but line ends for a million lines.
    """
    number = last = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) > limit and not line.endswith(b"\n"):
            _skip_to_end_of_line(stream, limit)
            yield number, LineError(number, f"the line is longer than {limit:,} bytes; split or shorten the row")
            continue
        content = line.removeprefix(_BYTE_ORDER_MARK).strip() if number == 1 else line.strip()
        if content:
            last = number
            yield number, content
        elif number - last > _BLANK_LINES:
            raise LineError(number, f"more than {_BLANK_LINES:,} empty lines; remove them")


def _skip_to_end_of_line(stream: BinaryIO, step: int) -> None:
    while (rest := stream.readline(step)) and not rest.endswith(b"\n"):
        pass


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file that a stage wrote. A damaged line is left out; how many there are, and which
    is the first, is said at the end."""
    damaged = DamagedLines()
    for number, line in checked_lines(path):
        row = _object(line)
        if row is None:
            damaged.add(path, number)
        else:
            yield row
    if damaged.count:
        sys.stderr.write(f"{damaged} To make them anew, run the stage that wrote them again.\n")


def _object(line: bytes | None) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line or b"")
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


# --- writing


def to_line(row: Any) -> bytes:
    """A row (dataclass or dict) as one line of JSON, including the line end."""
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old content or the new one, even after a crash. Creates its folder. Only
    its owner may read it: rows and replies are nobody else's business.

    Raises UserError if the volume is full or not writable.
    """
    with storage_errors_explained(str(path)):
        atomic_files.write_atomically(path, content, mode)


class AtomicFile(atomic_files.AtomicFile):
    """A file that appears under its name only when it is complete, or when `publish` is called.

    Raises UserError if the volume is full or not writable.
    """

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self._errors_explained = storage_errors_explained(str(path))
        with self._errors_explained:
            super().__init__(path, mode)

    def write(self, content: bytes) -> None:
        """Add to the file."""
        with self._errors_explained:
            super().write(content)

    def publish(self) -> None:
        """Give the file its name, with what was written so far."""
        with self._errors_explained:
            super().publish()


class RowsFile(AtomicFile):
    """A JSON Lines file whose lines have checksums, in a file beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._checksums = bytearray()

    def write(self, content: bytes) -> None:
        """Add whole lines."""
        super().write(content)
        for line in content.split(b"\n")[:-1]:
            self._checksums += checksum(line)

    def publish(self) -> None:
        """Give the file its name, and put the checksums beside it."""
        super().publish()
        write_atomically(checksums_path(self.path), checksums_file([bytes(self._checksums)]))
