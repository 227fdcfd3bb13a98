"""How files are read and written: line by line, in memory that does not grow with the file, and never half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from distillery_api.runtime import atomic_files
from distillery_trainer.runtime.errors import storage_errors_explained

ROW_LIMIT = 1024 * 1024
"""Bytes of one line. A longer one is refused before it is read to its end."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineError(Exception):
    """A line that breaks a rule. The message is the rule, without file and line."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(rule)
        self.line, self.rule = line, rule


# --- reading


def read_lines(stream: BinaryIO, limit: int = ROW_LIMIT) -> Iterator[tuple[int, bytes | LineError]]:
    """The number (from 1) and the bytes of each line that is not blank, without its end and a byte-order mark.

    A line of more than `limit` bytes comes as a LineError in its place; no more than `limit` bytes of it are held.
    """
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) > limit and not line.endswith(b"\n"):
            _skip_to_end_of_line(stream, limit)
            yield number, LineError(number, f"the line is longer than {limit:,} bytes; split or shorten the row")
            continue
        content = line.removeprefix(_BYTE_ORDER_MARK).strip() if number == 1 else line.strip()
        if content:
            yield number, content


def _skip_to_end_of_line(stream: BinaryIO, step: int) -> None:
    while (rest := stream.readline(step)) and not rest.endswith(b"\n"):
        pass


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file that a stage wrote. Raises ValueError naming file and line of a broken one."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error})") from error


# --- writing


def to_line(row: Any) -> bytes:
    """A row (dataclass or dict) as one line of JSON with its end."""
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new one, also after a crash. Makes its folder.

    Raises UserError where the volume is full or cannot be written.
    """
    with storage_errors_explained(str(path)):
        atomic_files.write_atomically(path, content, mode)


class AtomicFile(atomic_files.AtomicFile):
    """A file that appears under its name only when it is complete, or when `publish` is called.

    Raises UserError where the volume is full or cannot be written.
    """

    def __init__(self, path: Path, mode: int = 0o644) -> None:
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
