"""Reads and writes the files of a stage: line by line, in constant memory, and never half written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from distillery_api.runtime import atomic_files
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
    """The objects of a JSON Lines file that a stage wrote. Raises ValueError with file and line of an invalid one."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error})") from error


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
