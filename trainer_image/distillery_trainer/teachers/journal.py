"""Every teacher reply ever paid for, in the workspace, shared by all its runs.

Each attempt of a stage appends to a segment of its own, `replies/<folder>.<number>.jsonl`, so that no two processes
write to one file and a line torn by a kill is the last of its segment, where it is simply not read. A line is one of

    {"key": ..., "reply": {...}, "requests": 1, "spent": 140}      a reply, to be found again under its key
    {"spent": 600}                                                 tokens set aside before a call with a budget
    {"failed": "http_429", "requests": 1, "spent": -600}           a call that cost nothing gives them back

so the sum of `spent` over all lines is what the workspace has cost, a call that was in flight at a kill included.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy
import orjson

from distillery_api.result import Usage
from distillery_trainer.errors import storage_errors_explained
from distillery_trainer.records import to_line

_OFFSET_BITS = 44
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_RECENT = 16_384
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Reply:
    """What the teacher said to one request."""

    content: str
    finish_reason: str | None
    reasoning: str | None = None
    """Thoughts, kept apart from the answer and never trained on."""
    refusal: str | None = None
    input_tokens: int | None = None
    """None where the server does not count."""
    output_tokens: int | None = None
    latency_seconds: float | None = None
    request_id: str | None = None

    @property
    def tokens(self) -> int | None:
        """Tokens read and written; None where the server does not count."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens

    @property
    def usage(self) -> Usage:
        """The reply's part of a usage."""
        return Usage(requests=1, input_tokens=self.input_tokens or 0, output_tokens=self.output_tokens or 0)


class Locations:
    """Where the reply to a key stands, in 16 bytes a reply: sorted arrays, and a small dict of what came last."""

    def __init__(self) -> None:
        self._keys = numpy.empty(0, dtype=numpy.uint64)
        self._places = numpy.empty(0, dtype=numpy.uint64)
        self._recent: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._keys) + len(self._recent)

    def add(self, key: int, segment: int, offset: int) -> None:
        """Remember a reply; a later one under the same key takes its place."""
        self._recent[key] = segment << _OFFSET_BITS | offset
        if len(self._recent) >= _RECENT:
            self._merge()

    def find(self, key: int) -> tuple[int, int] | None:
        """Segment and offset of a key's reply."""
        place = self._recent.get(key)
        if place is None:
            index = int(numpy.searchsorted(self._keys, numpy.uint64(key)))
            if index == len(self._keys) or int(self._keys[index]) != key:
                return None
            place = int(self._places[index])
        return place >> _OFFSET_BITS, place & _OFFSET_MASK

    def _merge(self) -> None:
        recent = numpy.fromiter(self._recent.keys(), numpy.uint64, len(self._recent))
        places = numpy.fromiter(self._recent.values(), numpy.uint64, len(self._recent))
        # The new ones stand first, and of equal keys the first one is kept.
        self._keys, chosen = numpy.unique(numpy.concatenate([recent, self._keys]), return_index=True)
        self._places = numpy.concatenate([places, self._places])[chosen]
        self._recent.clear()


class ReplyJournal:
    """The replies of a workspace. `own` names the stage's folder, for its usage over all its attempts."""

    def __init__(self, folder: Path, own: str) -> None:
        self._folder, self._own = folder, own
        self._locations = Locations()
        self._readers: list[int] = []
        self._writer: int | None = None
        self._end = 0
        self._synced = 0
        self.spent = 0
        """Tokens that all calls of the workspace have cost, or may have."""
        self.usage = Usage()
        """What this stage's calls used, over all its attempts."""
        with storage_errors_explained(str(folder)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.jsonl")):
            self._load(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync()
        for descriptor in self._readers:
            os.close(descriptor)
        if self._writer is not None:
            os.close(self._writer)

    def __len__(self) -> int:
        return len(self._locations)

    # --- reading

    def _load(self, path: Path) -> None:
        segment = len(self._readers)
        self._readers.append(os.open(path, os.O_RDONLY))
        own = path.name.startswith(f"{self._own}.")
        for offset, line in _complete_lines(path):
            self._locate(segment, offset, line, own)

    def _locate(self, segment: int, offset: int, line: dict[str, Any], own: bool) -> None:
        self.spent += line.get("spent", 0)
        if "key" in line:
            self._locations.add(_short(line["key"]), segment, offset)
        if own:
            reply = Reply(**line["reply"]).usage if "reply" in line else Usage()
            self.usage += reply.model_copy(update={"requests": line.get("requests", 0)})

    def get(self, key: str) -> Reply | None:
        """The reply under a key (64 hex digits), from any run of the workspace."""
        place = self._locations.find(_short(key))
        if place is None:
            return None
        line = orjson.loads(_line_at(self._readers[place[0]], place[1]))
        return Reply(**line["reply"]) if line["key"] == key else None

    # --- writing

    def add_reply(self, key: str, reply: Reply, set_aside: int = 0) -> None:
        """Keep a paid reply. `set_aside` are the tokens that were noted before the call."""
        cost = set_aside if reply.tokens is None else reply.tokens
        line = to_line({"key": key, "reply": reply, "requests": 1, "spent": cost - set_aside})
        self._locations.add(_short(key), *self._append(line))
        self.spent += cost - set_aside
        self.usage += reply.usage

    def set_aside(self, tokens: int) -> None:
        """Note what a call may cost at most, before it is made."""
        self._append(to_line({"spent": tokens}))
        self.spent += tokens

    def add_failure(self, reason: str, *, answered: bool, given_back: int = 0) -> None:
        """Note a call without a reply; `given_back` of the tokens set aside were certainly not used."""
        self._append(to_line({"failed": reason, "requests": int(answered), "spent": -given_back}))
        self.spent -= given_back
        self.usage += Usage(requests=int(answered))

    def sync(self) -> None:
        """Have the system write to the disk what was appended. A killed process loses nothing without it, a machine
        that loses power does."""
        if self._writer is not None and self._synced < self._end:
            end = self._end
            with storage_errors_explained(str(self._folder)):
                os.fsync(self._writer)
            self._synced = end

    def _append(self, line: bytes) -> tuple[int, int]:
        """Add a line; its segment and offset. Raises UserError where the volume is full."""
        with storage_errors_explained(str(self._folder)):
            if self._writer is None:
                self._writer = self._new_segment()
            offset = self._end
            _write_whole(self._writer, line, offset)
            self._end += len(line)
        return len(self._readers) - 1, offset

    def _new_segment(self) -> int:
        number = 1 + sum(1 for _ in self._folder.glob(f"{self._own}.*.jsonl"))
        while True:
            path = self._folder / f"{self._own}.{number:04}.jsonl"
            try:
                writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except FileExistsError:
                number += 1
                continue
            self._readers.append(os.open(path, os.O_RDONLY))
            return writer


def _write_whole(descriptor: int, line: bytes, offset: int) -> None:
    """Append a line, or nothing of it: the next one must not be glued to its first half."""
    try:
        while line:
            line = line[os.write(descriptor, line) :]
    except OSError:
        os.ftruncate(descriptor, offset)
        raise


def _complete_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Offset and content of a segment's lines, without one that was torn."""
    offset = 0
    with path.open("rb") as stream:
        for line in stream:
            parsed = _parsed(line)
            if parsed is not None:
                yield offset, parsed
            offset += len(line)


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        parsed: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:  # a power cut may leave zeros in the middle
        return None
    return parsed


def _line_at(descriptor: int, offset: int) -> bytes:
    line = os.pread(descriptor, _CHUNK, offset)
    while b"\n" not in line and (more := os.pread(descriptor, _CHUNK, offset + len(line))):
        line += more
    return line.partition(b"\n")[0]


def _short(key: str) -> int:
    return int(key[:16], 16)
