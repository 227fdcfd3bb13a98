"""Lets models answer the held-out rows. Every reply is stored as soon as it is generated: a restarted stage generates
only what is missing, and does not load a model that has answered everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import BinaryIO

from distillery_api.paths import StageFolder
from distillery_api.run_config import GENERATION_BATCH_ROWS, RunConfig
from distillery_api.runtime.atomic_files import make_folder
from distillery_api.verification import BUSY_LOAD
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.data.rows import Message
from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GeneratedReply, GenerationRequest
from distillery_trainer.evaluation.model_requests import SystemRequests
from distillery_trainer.evaluation.reply_files import ReplyFile
from distillery_trainer.evaluation.reply_likelihood import ReplyLikelihood
from distillery_trainer.evaluation.row_shares import Share
from distillery_trainer.evaluation.systems import System, SystemReply
from distillery_trainer.runtime.machine_load import other_load
from distillery_trainer.runtime.row_errors import ENDS_STAGE, RowErrors
from distillery_trainer.student.device import Device
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.row_encoding import prompt_ids

MAX_LATENCY_SAMPLES = 8
"""Maximum number of requests whose median is a system's latency."""
MAX_LATENCY_SECONDS = 5.0
"""After this time, no further request is measured."""
_UNLIMITED_TOKENS = 2**31
"""Context length of a model that does not state one."""


@dataclass
class ModelReplies:
    """Generates and stores the replies of models."""

    folder: StageFolder
    device: Device
    report_progress: Callable[[int], None]
    """Called with the number of replies so far."""
    clock: Callable[[], float] = time.perf_counter
    alive: Callable[[], object] = lambda: None
    """Called whenever something was done, although no reply is."""
    micro_batches: int = 1
    """Number of parts in which each batch is processed, to save memory."""
    pictures: PictureFiles | None = None
    """The pictures of the rows."""
    other_loads: list[float] = field(default_factory=list)
    """What other processes used of the machine when the latencies of these replies were measured, in this attempt or an
    earlier one, as shares of its CPUs."""
    _done: int = 0

    @classmethod
    def of(
        cls,
        config: RunConfig,
        device: Device,
        report_progress: Callable[[int], None],
        alive: Callable[[], object],
    ) -> ModelReplies:
        """Those of an evaluate stage."""
        return cls(
            config.stage_folder,
            device,
            report_progress,
            alive=alive,
            micro_batches=config.micro_batches,
            pictures=PictureFiles(config.paths.pictures),
        )

    @property
    def is_busy(self) -> bool | None:
        """Whether the machine was busy with other things while latencies were measured; None where that is not
        known."""
        return median(self.other_loads) >= BUSY_LOAD if self.other_loads else None

    def replies(
        self, all_requests: Sequence[SystemRequests], open_model: Callable[[], ModelFolder]
    ) -> dict[System, list[SystemReply]]:
        """The replies of systems that share a model, one for each prompt. The model is loaded only if any is
        missing."""
        make_folder(self.folder.path, private=True)
        files = {
            requests.system: ReplyFile.open(self.folder.system_replies(requests.stored_as), len(requests.prompts))
            for requests in all_requests
        }
        self._count(sum(len(file.replies) for file in files.values()))
        incomplete = [
            requests for requests in all_requests if not files[requests.system].is_complete(requests.teacher_replies)
        ]
        if incomplete:
            model = replace(open_model(), pictures=self.pictures)
            generator = self._load(model)
            for requests in incomplete:
                self._complete(requests, files[requests.system], model, generator)
        for reply in (reply for file in files.values() for reply in file.replies.values()):
            self.other_loads += [reply.other_load] if reply.other_load is not None else []
        return {system: file.in_order() for system, file in files.items()}

    def answer_share(
        self, all_requests: Sequence[SystemRequests], share: Share, open_model: Callable[[], ModelFolder]
    ) -> None:
        """Store the replies of systems that share a model to the rows of one process, in files of that process."""
        model = replace(open_model(), pictures=self.pictures)
        generator = self._load(model)
        for requests in all_requests:
            path = self.folder.replies_of_process(requests.stored_as, share.process)
            file = ReplyFile.open(path, len(requests.prompts))
            with file.appending() as stream:
                encoded, rows = _encoded(requests, model), share.rows[requests.system]
                self._store(file, stream, _generated(rows, encoded, model, generator))
                self._measure_likelihood(requests, file, stream, ReplyLikelihood(model, generator.model))

    def _load(self, model: ModelFolder) -> BatchedGenerator:
        loaded = model.load(self.device.dtype, self.device.kind).eval()
        padding, rows = model.tokenizer.pad_token_id or 0, max(1, GENERATION_BATCH_ROWS // self.micro_batches)
        return BatchedGenerator(
            loaded,
            self.device,
            model.end_of_turn,
            padding,
            max_rows=rows,
            alive=self.alive,
            picture_inputs=model.picture_inputs,
        )

    def _complete(
        self, requests: SystemRequests, file: ReplyFile, model: ModelFolder, generator: BatchedGenerator
    ) -> None:
        """Generate and measure what is missing in a file."""
        generation_requests = _encoded(requests, model)
        with file.appending() as stream:
            self._store(file, stream, _generated(file.missing, generation_requests, model, generator))
            if not file.has_latency:
                self._measure_latency(file, stream, generator, generation_requests)
            self._measure_likelihood(requests, file, stream, ReplyLikelihood(model, generator.model))

    def _store(self, file: ReplyFile, stream: BinaryIO, replies: Iterator[tuple[int, SystemReply]]) -> None:
        """Store replies as they come."""
        for row, reply in replies:
            file.append_to(stream, row, reply)
            self._count(1)

    def _count(self, replies: int) -> None:
        self._done += replies
        self.report_progress(self._done)

    def _measure_latency(
        self, file: ReplyFile, stream: BinaryIO, generator: BatchedGenerator, requests: Sequence[GenerationRequest]
    ) -> None:
        """Repeat some requests one at a time, with nothing else running."""
        measuring_since, load = self.clock(), other_load()
        for row in [row for row, reply in file.replies.items() if reply.text is not None][:MAX_LATENCY_SAMPLES]:
            started = self.clock()
            if started - measuring_since > MAX_LATENCY_SECONDS:
                return
            list(generator.generate([requests[row]]))
            seconds = round(self.clock() - started, 4)
            measured = replace(file.replies[row], latency_seconds=seconds, other_load=load)
            file.append_to(stream, row, measured)

    def _measure_likelihood(
        self, requests: SystemRequests, file: ReplyFile, stream: BinaryIO, likelihood: ReplyLikelihood
    ) -> None:
        """Measure how likely the model finds the teacher's replies."""
        for row, text in list(file.unmeasured(requests.teacher_replies)):
            loss, tokens = likelihood.negative_log_likelihood(requests.prompts[row], text)
            file.append_to(stream, row, replace(file.replies[row], teacher_loss=loss, teacher_tokens=tokens))
            self.alive()


def _encoded(requests: SystemRequests, model: ModelFolder) -> list[GenerationRequest]:
    """The requests as token ids. A request whose prompt fills the model's context has no tokens left for a reply."""
    context, errors = model.positions or _UNLIMITED_TOKENS, RowErrors()
    prompts = [_prompt(model, messages, str(row), errors) for row, messages in enumerate(requests.prompts)]
    return [
        GenerationRequest(
            prompt, min(requests.max_tokens, context - len(prompt)) if prompt else 0, pictures_of(messages)
        )
        for prompt, messages in zip(prompts, requests.prompts, strict=True)
    ]


def _prompt(model: ModelFolder, messages: list[Message], row: str, errors: RowErrors) -> list[int]:
    """A prompt as token ids; none where this software fails at it."""
    try:
        return prompt_ids(model, messages)
    except ENDS_STAGE:
        raise
    except Exception as error:  # noqa: BLE001 - it is about this row alone
        errors.message(row, error)
        return []


def _generated(
    rows: Sequence[int], requests: Sequence[GenerationRequest], model: ModelFolder, generator: BatchedGenerator
) -> Iterator[tuple[int, SystemReply]]:
    """The replies to these rows, in the order in which they end."""
    fitting = [row for row in rows if requests[row].max_tokens > 0]
    for row in sorted(set(rows) - set(fitting)):  # the prompt alone exceeds the model's context
        yield row, SystemReply(None, finished=False, prompt_tokens=len(requests[row].prompt))
    for index, generated in generator.generate([requests[row] for row in fitting]):
        row = fitting[index]
        yield row, _system_reply(model, requests[row], generated)


def _system_reply(model: ModelFolder, request: GenerationRequest, generated: GeneratedReply) -> SystemReply:
    text = model.tokenizer.decode(generated.ids, skip_special_tokens=True)
    return SystemReply(str(text), generated.finished, len(request.prompt), len(generated.ids) + generated.finished)
