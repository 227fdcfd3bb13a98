"""Every teacher reply ever paid for, in the workspace, shared by all its runs.

Each attempt of a stage appends to a segment of its own, `replies/<folder>.<number>.jsonl`, so a line torn by a kill is
the last of its segment, where it is simply not read. A line is one of

    {"key": ..., "reply": {...}, "requests": 1, "spent": 140, "cost": 0.0002}
                                                    a reply, to be found again under its key
    {"spent": 600, "cost": 0.001}                   set aside before a call with a budget
    {"failed": "http_429", "requests": 1, "spent": -600, "cost": -0.001}
                                                    a call that cost nothing gives it back

so the sums of `spent` (tokens) and `cost` (money) over all lines are what the workspace has cost, a call that was in
flight at a kill included. Lines without `cost`, from before the teacher had a price, count at the price that it has
now. `"estimated": [120, 3]` are the tokens, read and written, of a reply for which the server did not count them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from distillery_api.run_config import RunConfig
from distillery_api.spec.teacher import Pricing
from distillery_api.usage import Usage
from distillery_trainer.chat.prices import Prices, Spending
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.reply_locations import ReplyLocations
from distillery_trainer.runtime.errors import storage_errors_explained
from distillery_trainer.runtime.files import to_line

_CHUNK = 2048


@dataclass(slots=True)
class UsageCounts:
    """What calls used, counted up line by line."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    uncounted: int = 0
    cost: float = 0.0

    def add_tokens(self, read: int, written: int, cached: int, thought: int) -> None:
        """Count the tokens of a reply."""
        self.input_tokens += read
        self.output_tokens += written
        self.cached_input_tokens += cached
        self.reasoning_tokens += thought

    def add_line(self, line: dict[str, Any], cost: float) -> None:
        """Count a line of the journal that cost so much money."""
        reply = line.get("reply") or {}
        estimated = line.get("estimated")
        read, written = estimated or (reply.get("input_tokens") or 0, reply.get("output_tokens") or 0)
        self.add_tokens(read, written, reply.get("cached_tokens") or 0, reply.get("reasoning_tokens") or 0)
        self.requests += line.get("requests", 0)
        self.uncounted += estimated is not None
        self.cost += cost


class ReplyJournal:
    """The replies of a workspace. `own` names the stage's folder, for its usage over all its attempts."""

    def __init__(self, folder: Path, own: str, pricing: Pricing | None = None) -> None:
        self._folder, self._own = folder, own
        self.prices = Prices(pricing)
        """What tokens cost, all free without a pricing."""
        self._locations = ReplyLocations()
        self._readers: list[int] = []
        self._writer: int | None = None
        self._end = 0
        self._synced = 0
        self.spent = Spending()
        """What all calls of the workspace have cost, or may have."""
        self._used = UsageCounts()
        with storage_errors_explained(str(folder)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.jsonl")):
            self._load(path)

    @classmethod
    def for_run(cls, config: RunConfig) -> ReplyJournal:
        """The journal of a run's workspace, at the prices of its teacher."""
        return cls(config.paths.replies, config.folder, config.generation.pricing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sync()
        for descriptor in self._readers:
            os.close(descriptor)
        if self._writer is not None:
            os.close(self._writer)

    def __len__(self) -> int:
        return len(self._locations)

    @property
    def usage(self) -> Usage:
        """What this stage's calls used, over all its attempts."""
        used, pricing = self._used, self.prices.pricing
        return Usage(
            requests=used.requests,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cached_input_tokens=used.cached_input_tokens,
            reasoning_tokens=used.reasoning_tokens,
            uncounted_replies=used.uncounted,
            cost=round(used.cost, 6) if pricing else None,
            currency=pricing.currency if pricing else None,
        )

    # --- reading

    def _load(self, path: Path) -> None:
        segment = len(self._readers)
        self._readers.append(os.open(path, os.O_RDONLY))
        own = path.name.startswith(f"{self._own}.")
        tokens, money = self.spent.tokens, self.spent.money
        for offset, line in _complete_lines(path):
            cost = self.prices.of_line(line)
            tokens += line.get("spent", 0)
            money += cost
            if "key" in line:
                self._locations.add(_short(line["key"]), segment, offset)
            if own:
                self._used.add_line(line, cost)
        self.spent = Spending(tokens, money)

    def get(self, key: str) -> Reply | None:
        """The reply under a key (64 hex digits), from any run of the workspace."""
        place = self._locations.find(_short(key))
        if place is None:
            return None
        line = orjson.loads(_line_at(self._readers[place[0]], place[1]))
        return Reply(**line["reply"]) if line["key"] == key else None

    # --- writing

    def add_reply(
        self,
        key: str,
        reply: Reply,
        cost: Spending,
        *,
        set_aside: Spending | None = None,
        estimated: tuple[int, int] | None = None,
    ) -> None:
        """Keep a paid reply and what it cost.

        `set_aside` is what was noted before the call, `estimated` the tokens read and written where the server did not
        count them.
        """
        line: dict[str, Any] = {"key": key, "reply": reply, "requests": 1}
        if estimated:
            line["estimated"] = estimated
        self._locations.add(_short(key), *self._note(line, cost - set_aside if set_aside else cost))
        read, written = estimated or (reply.input_tokens or 0, reply.output_tokens or 0)
        self._used.add_tokens(read, written, reply.cached_tokens or 0, reply.reasoning_tokens or 0)
        self._used.requests += 1
        self._used.uncounted += estimated is not None

    def set_aside(self, most: Spending) -> None:
        """Note what a call may cost at most, before it is made."""
        self._note({}, most)

    def add_failure(self, reason: str, *, answered: bool, given_back: Spending | None = None) -> None:
        """Note a call without a reply; `given_back` of what was set aside was certainly not used."""
        self._note({"failed": reason, "requests": int(answered)}, -given_back if given_back else Spending())
        self._used.requests += answered

    def _note(self, line: dict[str, Any], spent: Spending) -> tuple[int, int]:
        """Append a line that changes what is spent; its segment and offset."""
        line["spent"] = spent.tokens
        if self.prices.pricing:
            line["cost"] = spent.money
        place = self._append(to_line(line))
        self.spent += spent
        self._used.cost += spent.money
        return place

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
    while (end := line.find(b"\n")) < 0 and (more := os.pread(descriptor, _CHUNK, offset + len(line))):
        line += more
    return line[:end] if end >= 0 else line


def _short(key: str) -> int:
    return int(key[:16], 16)
