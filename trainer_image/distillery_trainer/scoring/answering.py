"""Models answer the held-out rows, and every reply is kept as it comes: a stage that is started again asks no model for
what it has said already, and does not load one that has nothing left to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from distillery_trainer.errors import storage_errors_explained
from distillery_trainer.records import Message, to_line
from distillery_trainer.scoring.contestants import Contestant, Reply
from distillery_trainer.scoring.writing import Writer, Writing
from distillery_trainer.student.device import Device
from distillery_trainer.student.model import ModelFolder
from distillery_trainer.student.tokens import prompt_ids

LATENCY_CALLS = 8
"""Calls that a contestant's latency is the median of, at most."""
LATENCY_SECONDS = 5.0
"""No further call is measured after this time."""


@dataclass(frozen=True)
class Part:
    """One contestant that is a model, and what it is asked."""

    name: Contestant
    prompts: Sequence[list[Message]]
    """One for each row."""
    limit: int
    """Longest reply, in tokens."""


@dataclass
class ReplyFile:
    """The replies of one contestant by row number, in memory and in a file that they are added to."""

    path: Path
    replies: dict[int, Reply] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> ReplyFile:
        """The replies of earlier attempts; a line that a kill left half written is not counted, and is cut off."""
        file = cls(path)
        if path.exists():
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            path.write_bytes(whole)
            for line in whole.splitlines():
                entry: dict[str, Any] = orjson.loads(line)
                row = entry.pop("row")
                file.replies[row] = Reply(**entry)
        return file

    def append_to(self, stream: BinaryIO, row: int, reply: Reply) -> None:
        """Keep a reply, or one with more known about it. Raises UserError where the volume is full."""
        with storage_errors_explained(str(self.path)):
            stream.write(to_line({"row": row, **asdict(reply)}))
            stream.flush()
        self.replies[row] = reply

    def in_order(self) -> list[Reply]:
        """The replies of all rows."""
        return [self.replies[row] for row in sorted(self.replies)]


@dataclass
class Answering:
    """Where models' replies are kept, and who is told about them."""

    folder: Path
    device: Device
    report: Callable[[int], None]
    """Called with the number of replies that there are so far."""
    clock: Callable[[], float] = time.perf_counter
    _done: int = 0

    def replies(self, parts: Sequence[Part], open_model: Callable[[], ModelFolder]) -> dict[Contestant, list[Reply]]:
        """Every part's replies, one for each of its prompts; the model is loaded where any of them is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {part.name: ReplyFile.open(self.folder / f"replies-{part.name}.jsonl") for part in parts}
        self._count(sum(len(file.replies) for file in files.values()))
        if any(len(files[part.name].replies) < len(part.prompts) for part in parts):
            model = open_model()
            writer = self._writer(model)
            for part in parts:
                self._complete(part, files[part.name], model, writer)
        return {name: file.in_order() for name, file in files.items()}

    def _writer(self, model: ModelFolder) -> Writer:
        loaded = model.load(self.device.dtype, self.device.kind).eval()
        return Writer(loaded, self.device, model.end_of_turn, model.tokenizer.pad_token_id or 0)

    def _complete(self, part: Part, file: ReplyFile, model: ModelFolder, writer: Writer) -> None:
        encoded = [prompt_ids(model, messages) for messages in part.prompts]
        missing = [row for row in range(len(encoded)) if row not in file.replies]
        with file.path.open("ab") as stream:
            fitting = [row for row in missing if len(encoded[row]) + part.limit <= (model.positions or 2**63)]
            for row in sorted(set(missing) - set(fitting)):  # it would not see the whole of its prompt
                self._keep(file, stream, row, Reply(None, finished=False, prompt_tokens=len(encoded[row])))
            for place, writing in writer.write([encoded[row] for row in fitting], part.limit):
                row = fitting[place]
                self._keep(file, stream, row, _reply(model, encoded[row], writing))
            self._measure_latency(part, file, stream, writer, encoded)

    def _keep(self, file: ReplyFile, stream: BinaryIO, row: int, reply: Reply) -> None:
        file.append_to(stream, row, reply)
        self._count(1)

    def _count(self, replies: int) -> None:
        self._done += replies
        self.report(self._done)

    def _measure_latency(
        self, part: Part, file: ReplyFile, stream: BinaryIO, writer: Writer, encoded: Sequence[list[int]]
    ) -> None:
        """Ask some rows again, one at a time, with nothing else to do."""
        began = self.clock()
        for row in [row for row, reply in file.replies.items() if reply.text is not None][:LATENCY_CALLS]:
            started = self.clock()
            if started - began > LATENCY_SECONDS:
                return
            list(writer.write([encoded[row]], part.limit))
            seconds = round(self.clock() - started, 4)
            file.append_to(stream, row, replace(file.replies[row], latency_seconds=seconds))


def _reply(model: ModelFolder, prompt: list[int], writing: Writing) -> Reply:
    text = model.tokenizer.decode(writing.ids, skip_special_tokens=True)
    return Reply(str(text), writing.finished, len(prompt), len(writing.ids) + writing.finished)
