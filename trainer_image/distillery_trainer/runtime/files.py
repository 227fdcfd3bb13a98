"""How files are read and written: line by line, in memory that does not grow with the file, and never half."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from distillery_trainer.runtime.errors import storage_errors_explained

ROW_LIMIT = 1024 * 1024
"""Bytes of one line. A longer one is refused before it is read to its end."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BUFFER = 256 * 1024
_DRAFT_END = ".draft"


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


def to_dict(row: Any) -> dict[str, Any]:
    """A row as a dict with the keys of its file."""
    return asdict(row)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new one, also after a crash. Makes its folder."""
    with AtomicFile(path, mode) as file:
        file.write(content)


class AtomicFile:
    """A file that appears under its name only when it is complete, or what there is of it when `publish` is called.

    As a context manager it is published at the end, and dropped after an exception.
    """

    def __init__(self, path: Path, mode: int = 0o644) -> None:
        self.path = path
        # Process numbers are no names: in containers, everybody is number 1.
        self._draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_DRAFT_END}")
        with storage_errors_explained(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        self._stream = os.fdopen(descriptor, "wb", buffering=_BUFFER)
        _lock(descriptor)

    def write(self, content: bytes) -> None:
        """Add to the file. Raises UserError where the volume is full."""
        with storage_errors_explained(str(self.path)):
            self._stream.write(content)

    def publish(self) -> None:
        """Give the file its name, with what was written so far."""
        with storage_errors_explained(str(self.path)):
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        self._draft.replace(self.path)

    def drop(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):  # a full volume refuses the last flush as well
            self._stream.close()
        self._draft.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.publish()
        else:
            self.drop()


def remove_abandoned_drafts(folder: Path) -> None:
    """Remove what killed processes left of their AtomicFiles in a folder. A living writer holds a lock on its own."""
    for draft in folder.glob(f".*{_DRAFT_END}"):
        with contextlib.suppress(OSError), draft.open("rb") as stream:
            if _lock(stream.fileno()):
                draft.unlink()


def _lock(descriptor: int) -> bool:
    """Take the lock that ends with the process; False where somebody has it, or the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
