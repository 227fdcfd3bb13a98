"""The rows as they stand in files, and how files are read and written: line by line, in memory that does not grow with
the file, and never half."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypedDict

import orjson

from distillery_trainer.errors import storage_errors_explained

ROW_LIMIT = 1024 * 1024
"""Bytes of one line. A longer one is refused before it is read to its end."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BUFFER = 256 * 1024
_DRAFT_END = ".draft"


class Message(TypedDict):
    """One turn of a chat."""

    role: str
    content: str


WHOLE = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "completed", None)
"""The finish reasons of replies that came to their end, by the names that servers give them; some give none. No set,
since anything may stand in a log, also what cannot be looked up in one."""


@dataclass(slots=True)
class Example:
    """One row of the user's data."""

    split: str
    """train, validation or test."""
    line: int
    """Number in its file, from 1."""
    id: str
    """The row's own, else `<split>-<line>`."""
    messages: list[Message]
    """An optional system message, then user and assistant in turn; the last one is the user's."""
    gold: str | list[str] | None = None
    """The known answer, or several; never shown to a model."""
    reply: str | None = None
    """The answer that the row held after its last user message."""
    keeps_replies: bool = False
    """Whether the answers that the row holds are taken as the teacher's, without a call."""

    @property
    def system(self) -> str | None:
        """The row's own system message."""
        return self.messages[0]["content"] if self.messages[0]["role"] == "system" else None

    @property
    def held_replies(self) -> list[str | None]:
        """The answers that the row holds, one for each of its user messages; None for one that is not there."""
        earlier = [message["content"] for message in self.messages if message["role"] == "assistant"]
        return [*earlier, self.reply]

    @property
    def known(self) -> list[str]:
        """The known answers."""
        return [self.gold] if isinstance(self.gold, str) else self.gold or []

    @property
    def text(self) -> str:
        """The last message from the user."""
        return self.messages[-1]["content"]


@dataclass(slots=True)
class TrainingRow:
    """A row that the student learns from."""

    id: str
    prompt: list[Message]
    completion: list[Message]
    teacher: str


@dataclass(frozen=True, slots=True)
class HeldOutRow:
    """A held-out row, with the teacher's reply where there is one."""

    id: str
    short: list[Message]
    elaborate: list[Message]
    gold: str | list[str] | None
    reply: str | None
    answer: str | None
    reason: str | None
    """Why there is no answer."""
    inputTokens: int | None  # noqa: N815 - the names in the file
    outputTokens: int | None  # noqa: N815
    latencySeconds: float | None  # noqa: N815
    carved: bool
    """Whether the row was taken from the validation split."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that does not become a training row."""

    split: str
    id: str
    line: int
    reason: str
    """One word for programs, such as bad_json or http_429."""
    message: str
    """A sentence for people."""
    reply: str | None
    requestId: str | None  # noqa: N815 - the name in the file


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
