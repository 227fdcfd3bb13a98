"""Models answer the held-out rows, and every reply is kept as it comes: a stage that is started again asks no model for
what it has said already, and does not load one that has nothing left to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from distillery_api.paths import StageFolder
from distillery_trainer.data.records import Message
from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GeneratedReply, GenerationRequest
from distillery_trainer.evaluation.reply_likelihood import ReplyLikelihood
from distillery_trainer.evaluation.systems import Reply, System
from distillery_trainer.runtime.errors import storage_errors_explained
from distillery_trainer.runtime.files import to_line
from distillery_trainer.runtime.resumable_lines import whole_lines
from distillery_trainer.student.device import Device
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.row_encoding import prompt_ids

LATENCY_CALLS = 8
"""Calls that a contestant's latency is the median of, at most."""
LATENCY_SECONDS = 5.0
"""No further call is measured after this time."""
_NO_END = 2**31
"""Tokens that a model can read which does not say how many."""


@dataclass(frozen=True)
class SystemPrompts:
    """One contestant that is a model, and what it is asked."""

    name: System
    prompts: Sequence[list[Message]]
    """One for each row."""
    limit: int
    """Longest reply, in tokens."""
    teacher_replies: Sequence[str | None] = ()
    """For each row the teacher's reply, whose likelihood is measured; () where none is."""


@dataclass
class ReplyFile:
    """The replies of one contestant by row number, in memory and in a file that they are added to."""

    path: Path
    replies: dict[int, Reply] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> ReplyFile:
        """The replies of earlier attempts; a line that a kill left half written is not counted, and is cut off."""
        file = cls(path)
        for entry in whole_lines(path):
            row = entry.pop("row")
            file.replies[row] = Reply(**entry)
        return file

    def is_complete(self, part: SystemPrompts) -> bool:
        """Whether nothing is left to ask."""
        return len(self.replies) == len(part.prompts) and not any(self.unmeasured(part))

    def unmeasured(self, part: SystemPrompts) -> Iterator[tuple[int, str]]:
        """The rows whose teacher's reply has not been held against the model yet, with that reply."""
        for row, text in enumerate(part.teacher_replies):
            if text is not None and self.replies[row].teacher_loss is None:
                yield row, text

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
class ModelReplies:
    """Where models' replies are kept, and who is told about them."""

    folder: StageFolder
    device: Device
    report: Callable[[int], None]
    """Called with the number of replies that there are so far."""
    clock: Callable[[], float] = time.perf_counter
    _done: int = 0

    def replies(
        self, parts: Sequence[SystemPrompts], open_model: Callable[[], ModelFolder]
    ) -> dict[System, list[Reply]]:
        """Every part's replies, one for each of its prompts; the model is loaded where any of them is missing."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        files = {part.name: ReplyFile.open(self.folder.system_replies(part.name)) for part in parts}
        self._count(sum(len(file.replies) for file in files.values()))
        incomplete = [part for part in parts if not files[part.name].is_complete(part)]
        if incomplete:
            model = open_model()
            writer = self._writer(model)
            for part in incomplete:
                self._complete(part, files[part.name], model, writer)
        return {name: file.in_order() for name, file in files.items()}

    def _writer(self, model: ModelFolder) -> BatchedGenerator:
        loaded = model.load(self.device.dtype, self.device.kind).eval()
        return BatchedGenerator(loaded, self.device, model.end_of_turn, model.tokenizer.pad_token_id or 0)

    def _complete(self, part: SystemPrompts, file: ReplyFile, model: ModelFolder, writer: BatchedGenerator) -> None:
        encoded = [prompt_ids(model, messages) for messages in part.prompts]
        asked = [(ids, min(part.limit, (model.positions or _NO_END) - len(ids))) for ids in encoded]
        missing = [row for row in range(len(asked)) if row not in file.replies]
        with file.path.open("ab") as stream:
            fitting = [row for row in missing if asked[row][1] > 0]
            for row in sorted(set(missing) - set(fitting)):  # it would not see the whole of its prompt
                self._keep(file, stream, row, Reply(None, finished=False, prompt_tokens=len(encoded[row])))
            for place, writing in writer.write([asked[row] for row in fitting]):
                row = fitting[place]
                self._keep(file, stream, row, _reply(model, encoded[row], writing))
            if missing:
                self._measure_latency(file, stream, writer, asked)
            self._measure_surprise(part, file, stream, ReplyLikelihood(model, writer.model))

    def _keep(self, file: ReplyFile, stream: BinaryIO, row: int, reply: Reply) -> None:
        file.append_to(stream, row, reply)
        self._count(1)

    def _count(self, replies: int) -> None:
        self._done += replies
        self.report(self._done)

    def _measure_latency(
        self, file: ReplyFile, stream: BinaryIO, writer: BatchedGenerator, asked: Sequence[GenerationRequest]
    ) -> None:
        """Ask some rows again, one at a time, with nothing else to do."""
        began = self.clock()
        for row in [row for row, reply in file.replies.items() if reply.text is not None][:LATENCY_CALLS]:
            started = self.clock()
            if started - began > LATENCY_SECONDS:
                return
            list(writer.write([asked[row]]))
            seconds = round(self.clock() - started, 4)
            file.append_to(stream, row, replace(file.replies[row], latency_seconds=seconds))

    def _measure_surprise(
        self, part: SystemPrompts, file: ReplyFile, stream: BinaryIO, surprise: ReplyLikelihood
    ) -> None:
        """Hold the teacher's replies against the model."""
        for row, text in list(file.unmeasured(part)):
            loss, tokens = surprise.at(part.prompts[row], text)
            file.append_to(stream, row, replace(file.replies[row], teacher_loss=loss, teacher_tokens=tokens))


def _reply(model: ModelFolder, prompt: list[int], writing: GeneratedReply) -> Reply:
    text = model.tokenizer.decode(writing.ids, skip_special_tokens=True)
    return Reply(str(text), writing.finished, len(prompt), len(writing.ids) + writing.finished)
