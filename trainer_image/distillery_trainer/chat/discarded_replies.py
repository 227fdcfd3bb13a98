"""Stored replies that are used no more, because their rows are asked again: `replies/discarded`.

    {"key": ..., "segment": "generate-k3x7yzqa.0001.jsonl", "offset": 5120, "retry": "2026-11-29T20:00:00Z"}

The line of the journal stays where it is, since the reply was paid for. `retry` names the request to ask again: after
an interruption, the same request discards nothing twice.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from distillery_trainer.runtime.checked_lines import checked_line, read_lines
from distillery_trainer.runtime.errors import storage_errors_explained

_FILE = "discarded"


class DiscardedReplies:
    """Where the discarded replies of a workspace are stored."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._places: set[tuple[str, int]] = set()
        self._by_key: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        self._retried: set[tuple[str, str]] = set()
        self._load()

    def holds(self, segment: str, offset: int) -> bool:
        """Whether the reply at this offset of a segment is discarded."""
        return (segment, offset) in self._places

    def of_key(self, key: str) -> list[tuple[str, int]]:
        """Segment and offset of the discarded replies to a request."""
        return self._by_key.get(key, [])

    def is_retried(self, key: str, retry: str) -> bool:
        """Whether a reply to this request was discarded for that retry."""
        return (key, retry) in self._retried

    def add(self, key: str, segment: str, offset: int, retry: str) -> None:
        """Discard a reply. Raises UserError where the volume is full."""
        line = checked_line({"key": key, "segment": segment, "offset": offset, "retry": retry})
        with storage_errors_explained(str(self._path)):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        self._add(key, segment, offset, retry)

    def _load(self) -> None:
        try:
            stream = self._path.open("rb")
        except FileNotFoundError:
            return
        with stream:
            for line in read_lines(stream):
                match line.row:
                    case {"key": str(key), "segment": str(segment), "offset": int(offset), "retry": str(retry)}:
                        self._add(key, segment, offset, retry)

    def _add(self, key: str, segment: str, offset: int, retry: str) -> None:
        self._places.add((segment, offset))
        self._by_key[key].append((segment, offset))
        self._retried.add((key, retry))
