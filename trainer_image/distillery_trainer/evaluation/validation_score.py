"""The task's score of a model in training: it answers some validation rows, which are read as in the evaluation. This
chooses the checkpoint where answers are short; of long ones the loss says as much, and costs a fraction."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from distillery_api.run_config import GENERATION_BATCH_ROWS
from distillery_trainer.data.rows import reply_of
from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GenerationRequest
from distillery_trainer.processes.process_group import this_group
from distillery_trainer.runtime.row_errors import ENDS_STAGE
from distillery_trainer.student.device import Device, is_out_of_memory
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.tasks import TaskDefinition, Unreadable

MOST_ROWS = 100
"""Validation rows that are answered after an epoch, at most."""
FEWEST_ROWS = 10
"""Validation rows below which their score is too coarse to choose by."""
LONGEST_ANSWER = 64
"""Tokens of the longest answer that counts as short."""
LONGEST_CALLS = 192
"""The same where tools may be called: each argument takes some tokens, and one wrong argument decides."""
_SHORT_CALLS = 0.9
"""Share of the validation rows with tools whose answers must be short; the others are not scored."""
_ROWS_PER_TRAIN_ROW = 0.5
"""So that answering takes a small part of an epoch's time."""
_MORE_TOKENS = 4
"""Tokens of an answer beyond the longest reference; one that goes on is no short answer."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A validation row that the model answers."""

    encoded: EncodedRow
    text: str
    """The last message from the user."""
    reference: str
    """The teacher's answer, or its calls."""
    may_call: bool = False
    """Whether tools may be called."""

    @classmethod
    def of(cls, row: Mapping[str, Any], encoded: EncodedRow) -> ScoredRow:
        """A kept row."""
        return cls(encoded, row["prompt"][-1]["content"], reply_of(row["completion"][-1]), bool(row.get("tools")))

    @property
    def prompt(self) -> list[int]:
        """Token ids of the prompt."""
        return [
            token for token, label in zip(self.encoded.input_ids, self.encoded.labels, strict=True) if label == IGNORED
        ]

    @property
    def answer_tokens(self) -> int:
        """Length of the answer with the end of its turn."""
        return len(self.encoded.labels) - self.encoded.labels.count(IGNORED)

    @property
    def is_short(self) -> bool:
        """Whether the answer is short enough to be written after every epoch."""
        return self.answer_tokens <= (LONGEST_CALLS if self.may_call else LONGEST_ANSWER)


@dataclass(frozen=True)
class ValidationScore:
    """Scores a model by its answers to the rows. Called with a model, it gives the mean score, from 0 to 1."""

    task: TaskDefinition
    rows: Sequence[ScoredRow]
    base: ModelFolder
    device: Device
    max_rows: int = GENERATION_BATCH_ROWS
    """Number of rows that are answered at a time, at most."""

    def __call__(self, model: PreTrainedModel) -> float:
        """The mean score of the model's answers, of which each process of a training gives its part; an unreadable one
        scores 0."""
        longest = max(row.answer_tokens for row in self.rows) + _MORE_TOKENS
        group = this_group()
        own = group.share(self.rows)
        replies = self._generator(model).generate(
            [GenerationRequest(row.prompt, longest, row.encoded.pictures) for row in own]
        )
        # As each step of the training is: the library's `generate` calls the model within what the trainer has wrapped.
        with torch.autocast(self.device.kind, torch.bfloat16, enabled=self.device.dtype is torch.bfloat16):
            scored = sum(self._score(own[index], reply.ids) for index, reply in replies if reply.finished)
        (total,) = group.sum(scored)
        return total / len(self.rows)

    def works(self, model: PreTrainedModel) -> bool:
        """Whether the model can answer in batches at all; some families with other caches cannot."""
        requests = [
            GenerationRequest(row.prompt, tokens, row.encoded.pictures)
            for tokens, row in enumerate(self.rows[:3], start=1)
        ]
        try:
            list(self._generator(model.to(self.device.kind)).generate(requests))
        except ENDS_STAGE:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            sys.stderr.write(f"Checkpoints are chosen by their loss: the model cannot answer in batches ({error}).\n")
            return False
        return True

    def _generator(self, model: PreTrainedModel) -> BatchedGenerator:
        padding = self.base.tokenizer.pad_token_id or 0
        return BatchedGenerator(
            model.eval(),
            self.device,
            self.base.end_of_turn,
            padding,
            max_rows=self.max_rows,
            picture_inputs=self.base.picture_inputs,
        )

    def _score(self, row: ScoredRow, ids: list[int]) -> float:
        text = str(self.base.tokenizer.decode(ids, skip_special_tokens=True))
        answer = self.task.read_answer(text, row.text)
        return 0.0 if isinstance(answer, Unreadable) else self.task.score(answer, row.reference)


def rows_to_score(rows: Sequence[ScoredRow], train_rows: int) -> list[ScoredRow]:
    """The validation rows to answer after an epoch, evenly spaced; none where an answer is long, or many calls are, or
    where they are too few to choose by."""
    short = [row for row in rows if row.is_short]
    needed = len(rows) * (_SHORT_CALLS if any(row.may_call for row in rows) else 1)
    wanted = min(MOST_ROWS, max(FEWEST_ROWS, int(_ROWS_PER_TRAIN_ROW * train_rows)))
    if len(short) < max(needed, FEWEST_ROWS):
        return []
    number = min(wanted, len(short))
    return [short[position * len(short) // number] for position in range(number)]
