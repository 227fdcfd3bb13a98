"""Ends a training that cannot succeed: its loss is not a number, or keeps far above the first one.

The losses of single micro-batches stay on the device, with their token ids, until the trainer logs their mean; only
then is it known whether one of them is not finite, and which rows it was of. So nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerState

from distillery_api.formatting import cleaned
from distillery_trainer.student.checkpoint_choice import LOSS
from distillery_trainer.student.row_encoding import EncodedRow

_NAMED_ROWS = 5
_ROW_ID_LIMIT = 80
_STEPS_ABOVE = 50
"""Steps in a row whose losses are far above the first one."""
_TIMES, _MORE = 3.0, 2.0
"""A loss is far above the first one if it is more than so many times as high, and by more than so many nats per token:
a training that learns anything is below both, and so is one that starts near zero."""


class TrainingFailed(Exception):
    """A training that cannot succeed as it is. The message says what was seen; `remedy` what to change."""

    remedy = "Lower training.learningRate, or raise training.warmupSteps."


class NonFiniteLoss(TrainingFailed):
    """The loss became infinite or not a number."""


class NonFiniteFirstLoss(NonFiniteLoss):
    """The loss was not finite before anything was learned."""

    remedy = "Nothing was learned by then: check the base model's weights, or choose another student."


class Diverged(TrainingFailed):
    """The loss keeps far above the first one."""


@dataclass(frozen=True, slots=True)
class _MicroBatch:
    step: int
    input_ids: torch.Tensor
    mask: torch.Tensor | None
    """Where tokens are no padding."""
    positions: torch.Tensor | None
    """Of packed rows, which have no padding."""
    loss: torch.Tensor

    def rows(self) -> Iterator[tuple[int, ...]]:
        """The token ids of each row."""
        for number, ids in enumerate(self.input_ids.tolist()):
            if self.mask is not None:
                shown = self.mask[number].tolist()
                yield tuple(token for token, is_shown in zip(ids, shown, strict=True) if is_shown)
            elif self.positions is not None:
                yield from _at_beginnings(ids, self.positions[number].tolist())
            else:
                yield tuple(ids)


def _at_beginnings(ids: Sequence[int], positions: Sequence[int]) -> Iterator[tuple[int, ...]]:
    beginnings = [index for index, position in enumerate(positions) if position == 0]
    for begin, end in zip(beginnings, [*beginnings[1:], len(ids)], strict=True):
        yield tuple(ids[begin:end])


@dataclass
class LossWatch:
    """The losses since they were last logged."""

    train_rows: Sequence[EncodedRow] = ()
    _unlogged: list[_MicroBatch] = field(default_factory=list)

    def add(self, step: int, inputs: Mapping[str, Any], loss: torch.Tensor) -> None:
        """Note the loss of a micro-batch of a step, which counts from 1. Waits for no device."""
        batch = _MicroBatch(step, inputs["input_ids"], inputs.get("attention_mask"), inputs.get("position_ids"), loss)
        self._unlogged.append(batch)

    def check(self, logs: Mapping[str, Any], state: TrainerState) -> None:
        """Raise NonFiniteLoss or Diverged for what the trainer logs."""
        if not math.isfinite(float(logs.get("loss", 0.0))):
            raise self._not_finite(state.global_step)
        if not math.isfinite(float(logs.get(LOSS, 0.0))):
            raise NonFiniteLoss(f"the loss on the validation rows is {logs[LOSS]} after step {state.global_step:,}")
        if "loss" in logs:
            self._unlogged.clear()
            check_divergence([(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry])

    def _not_finite(self, last_step: int) -> NonFiniteLoss:
        first = next((batch for batch in self._unlogged if not torch.isfinite(batch.loss).item()), None)
        if first is None:
            return NonFiniteLoss(f"the loss is not a finite number at step {last_step:,}")
        kind = NonFiniteFirstLoss if first.step == 1 else NonFiniteLoss
        return kind(f"the loss is {first.loss.item():g} at step {first.step:,}{self._named(list(first.rows()))}")

    def _named(self, batch: Sequence[tuple[int, ...]]) -> str:
        """The ids of the rows, never what they say."""
        wanted = set(batch)
        found = [cleaned(row.id, _ROW_ID_LIMIT) for row in self.train_rows if row.id and _is_in(wanted, row)]
        if not found:
            return ""
        more = f" and {len(found) - _NAMED_ROWS:,} more" if len(found) > _NAMED_ROWS else ""
        return f" ({'row' if len(found) == 1 else 'rows'} {', '.join(found[:_NAMED_ROWS])}{more})"


def _is_in(batch: set[tuple[int, ...]], row: EncodedRow) -> bool:
    return any(tuple(each.input_ids) in batch for each in (row, *row.siblings))


def check_divergence(losses: Sequence[tuple[int, float]]) -> None:
    """Raise Diverged if the loss has kept far above the first one. `losses` are logged ones with their steps, each the
    mean since the step before."""
    first = losses[0][1]
    limit = max(_TIMES * first, first + _MORE)
    since = max(step for step, loss in losses if loss <= limit)
    if losses[-1][0] - since >= _STEPS_ABOVE:
        lowest = min(loss for step, loss in losses if step > since)
        raise Diverged(
            f"the loss has kept above {lowest:.2f} until step {losses[-1][0]:,}, and was {first:.2f} at first"
        )
