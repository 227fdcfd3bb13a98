"""The replies of one system to the held-out rows, stored as soon as they are generated.

Each line has a checksum (`runtime/checked_lines.py`). What is damaged, or of a newer release, is left out and named,
and its reply is generated again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import TypeAdapter, ValidationError

from distillery_trainer.evaluation.systems import SystemReply
from distillery_trainer.runtime.checked_lines import DamagedLines, checked_line, read_lines
from distillery_trainer.runtime.errors import storage_errors_explained
from distillery_trainer.runtime.files import write_atomically

_REPLIES = TypeAdapter(SystemReply)


@dataclass
class ReplyFile:
    """The replies of one system by row number, in memory and in a file that they are appended to. An evaluation by
    several processes has a file for each of them beside it, until they are joined."""

    path: Path
    rows: int
    """Number of held-out rows."""
    replies: dict[int, SystemReply] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, rows: int) -> ReplyFile:
        """The replies of earlier attempts, and of processes that have ended. Raises UserError if the volume is not
        writable."""
        file = cls(path, rows)
        if path.exists():
            file._read()
        for part in sorted(path.parent.glob(f"{path.stem}.process-*.jsonl")):
            file._join(part)
        return file

    def _join(self, part: Path) -> None:
        """Take the replies of a process over."""
        with self.appending() as stream:
            for row, reply in ReplyFile.open(part, self.rows).replies.items():
                if row not in self.replies:
                    self.append_to(stream, row, reply)
        part.unlink()

    @property
    def missing(self) -> list[int]:
        """The rows without a reply."""
        return [row for row in range(self.rows) if row not in self.replies]

    def _read(self) -> None:
        damaged = DamagedLines()
        with self.path.open("rb") as stream:
            for line in read_lines(stream):
                if not self._add(line.row):
                    damaged.add(self.path, line.number)
        if damaged.count:
            sys.stderr.write(f"{damaged} Lost replies are generated again.\n")
        if damaged.count or self._is_torn():
            write_atomically(self.path, b"".join(_line(row, reply) for row, reply in self.replies.items()))

    def _is_torn(self) -> bool:
        """Whether the last line is incomplete, so that the next one would continue it."""
        with self.path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 1))
            return stream.read() not in (b"", b"\n")

    def _add(self, line: dict[str, Any] | None) -> bool:
        """Whether a line holds the reply to a row."""
        fields = dict(line or {})
        row = fields.pop("row", None)
        if type(row) is not int or not 0 <= row < self.rows:
            return False
        try:
            self.replies[row] = _REPLIES.validate_python(fields)
        except ValidationError:
            return False
        return True

    def is_complete(self, teacher_replies: Sequence[str | None]) -> bool:
        """Whether nothing remains to be generated or measured."""
        return len(self.replies) == self.rows and self.has_latency and not any(self.unmeasured(teacher_replies))

    @property
    def has_latency(self) -> bool:
        """Whether the latency of any reply is measured; there is nothing to measure where no prompt fits."""
        texts = [reply for reply in self.replies.values() if reply.text is not None]
        return not texts or any(reply.latency_seconds is not None for reply in texts)

    def unmeasured(self, teacher_replies: Sequence[str | None]) -> Iterator[tuple[int, str]]:
        """The rows with a reply for which the likelihood of the teacher's is not measured yet, with that one."""
        for row, text in enumerate(teacher_replies):
            if text is not None and row in self.replies and self.replies[row].teacher_loss is None:
                yield row, text

    @contextmanager
    def appending(self) -> Iterator[BinaryIO]:
        """The file, for `append_to`. Raises UserError if the volume is not writable."""
        with storage_errors_explained(str(self.path)):
            self.path.touch(mode=0o600)
            stream = self.path.open("ab")
        with stream:
            yield stream

    def append_to(self, stream: BinaryIO, row: int, reply: SystemReply) -> None:
        """Store a reply, or a new version of one. Raises UserError if the volume is full."""
        with storage_errors_explained(str(self.path)):
            stream.write(_line(row, reply))
            stream.flush()
        self.replies[row] = reply

    def in_order(self) -> list[SystemReply]:
        """The replies in the order of the rows."""
        return [self.replies[row] for row in sorted(self.replies)]


def _line(row: int, reply: SystemReply) -> bytes:
    return checked_line({"row": row, **asdict(reply)})
