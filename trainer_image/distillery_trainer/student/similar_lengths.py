"""Micro-batches in parts of rows that are about as long as each other, so that little of what is computed is padding.

The gradients of the parts are added up, so a batch stays what it is, with the same loss and the same order of rows:
only the padding goes. A CPU gains from it, whose time goes by the number of tokens. A GPU takes the whole at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import Trainer

from distillery_trainer.student.objectives.row_batches import COLUMNS, TARGETS
from distillery_trainer.student.row_encoding import IGNORED

_BY_TOKEN = {"input_ids", "attention_mask", "labels", TARGETS}
"""In a batch: what has a value for each token of each sequence."""
PART_TOKENS = 48
"""Tokens that could be computed in the time that a further part costs: all weights are read once more."""


class SimilarLengthsTrainer(Trainer):  # type: ignore[misc]
    """Takes each micro-batch on a CPU in parts of similar length."""

    aux_loss_enabled: bool
    shards: bool

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """The loss of a micro-batch, a scalar; the gradients of all its parts are added up."""
        if num_items_in_batch is None or not self._takes_parts:
            return super().training_step(model, inputs, num_items_in_batch)
        *before, last = parts_of_similar_length(inputs)
        with self.accelerator.no_sync(model) if before else contextlib.nullcontext():
            losses = [
                super(SimilarLengthsTrainer, self).training_step(model, part, num_items_in_batch) for part in before
            ]
        return sum(losses, start=super().training_step(model, last, num_items_in_batch))

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The mean loss of a validation batch."""
        if not self._takes_parts:
            return super().prediction_step(model, inputs, *args, **kwargs)
        total, count = torch.zeros(()), 0
        for part in parts_of_similar_length(inputs):
            answers = int((part["labels"][:, 1:] != IGNORED).sum())
            loss, _, _ = super().prediction_step(model, part, *args, **kwargs)
            total, count = total + (loss * answers if answers else 0), count + answers
        return total / max(1, count), None, None

    @property
    def _takes_parts(self) -> bool:
        """The routers of a mixture of experts have a loss of the whole micro-batch, and the processes of a sharded
        model take as many passes as each other."""
        return bool(self.args.use_cpu) and not self.aux_loss_enabled and not self.shards


def parts_of_similar_length(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sequences of a batch padded on the right, in one or more batches that take the least time together. The last
    one has the longest sequences. One with pictures, which are not told by sequence, stays whole."""
    if not batch.keys() <= _BY_TOKEN | {COLUMNS}:
        return [dict(batch)]
    mask = batch["attention_mask"]
    lengths: list[int] = mask.sum(dim=1).tolist()
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ends = cheapest_ends([lengths[number] for number in order])
    return [_part(batch, order[begin:end]) for begin, end in pairwise((0, *ends))]


def cheapest_ends(lengths: Sequence[int]) -> list[int]:
    """Where to end the parts of sequences in ascending order of their lengths, so that padded tokens and parts take the
    least time."""
    best: list[tuple[int, list[int]]] = [(0, [])]
    for end in range(1, len(lengths) + 1):
        options = (
            (cost + (end - begin) * lengths[end - 1] + PART_TOKENS, [*ends, end])
            for begin, (cost, ends) in enumerate(best)
        )
        best.append(min(options))
    return best[-1][1]


def _part(batch: Mapping[str, Any], numbers: list[int]) -> dict[str, Any]:
    """The sequences with these numbers, without the padding that all of them have."""
    length = int(batch["attention_mask"][numbers].sum(dim=1).max())
    part = {name: value[numbers, :length] for name, value in batch.items() if name in _BY_TOKEN}
    return {**part, COLUMNS: _columns_of(batch, numbers)} if COLUMNS in batch else part


def _columns_of(batch: Mapping[str, Any], numbers: list[int]) -> dict[str, torch.Tensor]:
    answers = (batch.get(TARGETS, batch["labels"]) != IGNORED).sum(dim=1).tolist()
    return {
        name: torch.cat([values.split(answers)[number] for number in numbers])
        for name, values in batch[COLUMNS].items()
    }
