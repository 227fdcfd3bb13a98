"""The reply journal: every paid reply of the workspace, shared by all its runs.

Each attempt of a stage appends to its own segment, `replies/<folder>.<number>.jsonl`. A line torn by a kill is the last
of its segment and is ignored. Each line has a checksum (`runtime/checked_lines.py`): a damaged one, or one of a newer
release, is left out and named, and its reply is asked for again. A line is one of

    {"key": ..., "reply": {...}, "requests": 1, "spent": 140, "cost": 0.0002}
                                                    a reply, stored under its key
    {"spent": 600, "cost": 0.001}                   reserved before a request with a budget
    {"failed": "http_429", "requests": 1, "spent": -600, "cost": -0.001}
                                                    released by a request that cost nothing

so the sums of `spent` (tokens) and `cost` over all lines are what the workspace has spent, including a request that was
in flight at a kill. Lines without `cost` were written before the teacher had a pricing and are charged at the present
one. `"estimated": [120, 3]` are the input and output tokens of a reply for which the server did not count them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import make_folder, sync_folder
from distillery_api.spec.teacher import Pricing
from distillery_api.usage import Usage
from distillery_trainer.chat.discarded_replies import DiscardedReplies
from distillery_trainer.chat.journal_line import JournalLine
from distillery_trainer.chat.output_limits import OutputLimits
from distillery_trainer.chat.prices import Prices, Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_locations import ReplyLocations
from distillery_trainer.chat.used_replies import UsedReplies
from distillery_trainer.runtime.checked_lines import DamagedLines, checked_line, read_line, read_lines
from distillery_trainer.runtime.errors import storage_errors_explained

_READ_SIZE = 2048
"""Bytes read at once; most lines are shorter."""


@dataclass(slots=True)
class UsageCounts:
    """What requests used, counted line by line."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    uncounted: int = 0
    cost: float = 0.0

    def add_tokens(self, input_tokens: int, output_tokens: int, cached_tokens: int, reasoning_tokens: int) -> None:
        """Count the tokens of a reply."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cached_input_tokens += cached_tokens
        self.reasoning_tokens += reasoning_tokens

    def add_line(self, line: JournalLine, cost: float) -> None:
        """Count a line of the journal and its cost."""
        self.add_tokens(*line.tokens, line.cached_tokens, (line.reply and line.reply.reasoning_tokens) or 0)
        self.requests += line.requests
        self.uncounted += line.estimated is not None
        self.cost += cost


class ReplyJournal:
    """The replies of a workspace. `own` names the stage's folder: its attempts share their segments and usage."""

    def __init__(self, folder: Path, own: str, pricing: Pricing | None = None) -> None:
        self._folder, self._own = folder, own
        self.prices = Prices(pricing)
        """Prices of tokens, which are all free without a pricing."""
        self._locations = ReplyLocations()
        self._readers: list[int] = []
        self._segment: int | None = None
        self._end = 0
        self._synced = 0
        self.spent = Spending()
        """What all requests of the workspace have cost, including what is reserved."""
        self._usage = UsageCounts()
        self._used = UsedReplies()
        with storage_errors_explained(str(folder)):
            make_folder(folder, private=True)
        damaged = DamagedLines()
        self._discarded = DiscardedReplies(folder)
        self._without_reply: set[str] = set()
        self._segments: list[str] = []
        for path in sorted(folder.glob("*.jsonl")):
            self._load(path, damaged)
        self._loaded = len(self._segments)
        self.limits = OutputLimits(folder, has_replies=len(self) > 0)
        """The limits on the length of replies that requests of the workspace have had."""
        if damaged.count:
            sys.stderr.write(f"{damaged} Lost replies are asked for again.\n")

    @classmethod
    def for_run(cls, config: RunConfig) -> ReplyJournal:
        """The journal of a run's workspace, with the prices of its teacher."""
        return cls(config.paths.replies, config.folder, config.generation.pricing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sync()
        for descriptor in self._readers:
            os.close(descriptor)
        if self._segment is not None:
            os.close(self._segment)

    def __len__(self) -> int:
        return len(self._locations)

    @property
    def usage(self) -> Usage:
        """What this stage's requests used, over all its attempts."""
        counts, pricing = self._usage, self.prices.pricing
        return Usage(
            requests=counts.requests,
            input_tokens=counts.input_tokens,
            output_tokens=counts.output_tokens,
            cached_input_tokens=counts.cached_input_tokens,
            reasoning_tokens=counts.reasoning_tokens,
            uncounted_replies=counts.uncounted,
            cost=round(counts.cost, 6) if pricing else None,
            currency=pricing.currency if pricing else None,
        )

    # --- reading

    def _load(self, path: Path, damaged: DamagedLines) -> None:
        segment = len(self._readers)
        self._readers.append(os.open(path, os.O_RDONLY))
        self._segments.append(path.name)
        own = path.name.startswith(f"{self._own}.")
        tokens, total_cost = self.spent.tokens, self.spent.cost
        with path.open("rb") as stream:
            for read in read_lines(stream):
                line = JournalLine.read(read.row)
                if line is None:
                    damaged.add(path, read.number)
                    continue
                cost = self.prices.of_line(line)
                tokens += line.spent
                total_cost += cost
                if line.key and not self._discarded.holds(path.name, read.offset):
                    self._locations.add(_short(line.key), segment, read.offset)
                if own:
                    self._usage.add_line(line, cost)
        self.spent = Spending(tokens, total_cost)

    def get(self, key: str) -> Reply | None:
        """The reply under a key (64 hexadecimal digits), from any run of the workspace."""
        line = self._line(key)
        return line.reply if line else None

    def _line(self, key: str) -> JournalLine | None:
        location = None if key in self._without_reply else self._locations.find(_short(key))
        if location is None:
            return None
        line = self._line_at(*location)
        return line if line and line.key == key else None

    def _line_at(self, segment: int, offset: int) -> JournalLine | None:
        return JournalLine.read(read_line(_line_at(self._readers[segment], offset)))

    # --- what the rows of this run use

    def note_use(self, key: str, pricing: Pricing | None) -> None:
        """Count a reply as one that the rows of this run use, with those that were discarded in its favour."""
        lines = [self._line(key)]
        for segment, offset in self._discarded.of_key(key):
            if segment in self._segments:
                lines.append(self._line_at(self._segments.index(segment), offset))
        self._used.add(_short(key), filter(None, lines), pricing)

    @property
    def used(self) -> Usage:
        """What all replies that the rows of this run use have cost, whichever run paid for them."""
        return self._used.usage

    # --- discarding

    def may_discard(self, key: str, retry: str) -> bool:
        """Whether the reply under a key is from before this process, and was not discarded for this retry yet."""
        location = None if key in self._without_reply else self._locations.find(_short(key))
        return location is not None and location[0] < self._loaded and not self._discarded.is_retried(key, retry)

    def discard(self, key: str, retry: str) -> None:
        """Use the reply under a key no more, so that the same request is sent again. Its cost stays counted."""
        location = self._locations.find(_short(key))
        if location is not None:
            self._discarded.add(key, self._segments[location[0]], location[1], retry)
            self._without_reply.add(key)

    # --- writing

    def add_reply(
        self,
        key: str,
        reply: Reply,
        spending: Spending,
        *,
        reserved: Spending | None = None,
        estimated: tuple[int, int] | None = None,
    ) -> None:
        """Add a paid reply and what it cost.

        `reserved` is what was reserved before the request, `estimated` the input and output tokens where the server did
        not count them.
        """
        line: dict[str, Any] = {"key": key, "reply": reply.stored_fields, "requests": 1}
        if estimated:
            line["estimated"] = estimated
        self._without_reply.discard(key)
        self._locations.add(_short(key), *self._add(line, spending - reserved if reserved else spending))
        input_tokens, output_tokens = estimated or (reply.input_tokens or 0, reply.output_tokens or 0)
        self._usage.add_tokens(input_tokens, output_tokens, reply.cached_tokens or 0, reply.reasoning_tokens or 0)
        self._usage.requests += 1
        self._usage.uncounted += estimated is not None

    def reserve(self, most: Spending) -> None:
        """Reserve what a request may cost at most, before it is sent."""
        self._add({}, most)

    def add_failure(self, reason: str, *, answered: bool, released: Spending | None = None) -> None:
        """Add a request without a reply; `released` is the reservation, where the request certainly cost nothing."""
        self._add({"failed": reason, "requests": int(answered)}, -released if released else Spending())
        self._usage.requests += answered

    def _add(self, line: dict[str, Any], spending: Spending) -> tuple[int, int]:
        """Append a line that changes what is spent; returns its segment and offset."""
        line["spent"] = spending.tokens
        if self.prices.pricing:
            line["cost"] = spending.cost
        location = self._append(checked_line(line))
        self.spent += spending
        self._usage.cost += spending.cost
        return location

    def sync(self) -> None:
        """Flush appended lines to the disk, so that they survive a power failure. They survive a kill in any case."""
        if self._segment is not None and self._synced < self._end:
            end = self._end
            with storage_errors_explained(str(self._folder)):
                os.fsync(self._segment)
            self._synced = end

    def _append(self, line: bytes) -> tuple[int, int]:
        """Append a line; returns its segment and offset. Raises UserError where the volume is full."""
        with storage_errors_explained(str(self._folder)):
            if self._segment is None:
                self._segment = self._new_segment()
            offset = self._end
            _write_all(self._segment, line, offset)
            self._end += len(line)
        return len(self._readers) - 1, offset

    def _new_segment(self) -> int:
        number = 1 + sum(1 for _ in self._folder.glob(f"{self._own}.*.jsonl"))
        while True:
            path = self._folder / f"{self._own}.{number:04}.jsonl"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except FileExistsError:
                number += 1
                continue
            self._readers.append(os.open(path, os.O_RDONLY))
            self._segments.append(path.name)
            sync_folder(self._folder)
            return descriptor


def _write_all(descriptor: int, line: bytes, offset: int) -> None:
    """Append a whole line or nothing: the next line must not continue a half-written one."""
    try:
        while line:
            line = line[os.write(descriptor, line) :]
    except OSError:
        os.ftruncate(descriptor, offset)
        raise


def _line_at(descriptor: int, offset: int) -> bytes:
    line = os.pread(descriptor, _READ_SIZE, offset)
    while (end := line.find(b"\n")) < 0 and (more := os.pread(descriptor, _READ_SIZE, offset + len(line))):
        line += more
    return line[:end] if end >= 0 else line


def _short(key: str) -> int:
    return int(key[:16], 16)
