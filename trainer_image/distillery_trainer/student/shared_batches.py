"""Batches that several processes share: each takes a part of the rows of every micro-batch, so that together they take
the same steps as one process would, also where the rows do not divide evenly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer

from distillery_trainer.processes.process_group import ProcessGroup, this_group
from distillery_trainer.student.objectives.row_batches import COLUMNS, TARGETS
from distillery_trainer.student.row_encoding import IGNORED
from distillery_trainer.student.training_monitor import Interrupted, TrainingMonitor

Collate = Callable[[Sequence[dict[str, Any]]], Any]


@dataclass(frozen=True)
class SharedCollator:
    """Collates this process's part of a micro-batch."""

    collate: Collate
    group: ProcessGroup

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Any:
        """The batch of this process's rows. Where there are none for it, of a row that the loss ignores, since all
        processes take part in each step."""
        own = self.group.share(rows)
        return self.collate(own) if own else _without_answers(self.collate(rows[:1]))


def _without_answers(batch: dict[str, Any]) -> dict[str, Any]:
    labels = {name: torch.full_like(batch[name], IGNORED) for name in ("labels", TARGETS) if name in batch}
    columns = {name: values[:0] for name, values in batch.get(COLUMNS, {}).items()}
    return {**batch, **labels, **({COLUMNS: columns} if columns else {})}


class SharedBatchTrainer(Trainer):  # type: ignore[misc]
    """Makes a Trainer's batches and losses those of all processes."""

    data_collator: Any
    monitor: TrainingMonitor

    @property
    def group(self) -> ProcessGroup:
        """The processes that share each batch."""
        return this_group()

    def share_batches(self) -> None:
        """From now on, each process takes its part of every batch."""
        if not self.group.is_alone:
            self.data_collator = SharedCollator(self.data_collator, self.group)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The micro-batches of all processes together, in the same order everywhere."""
        return self._of_all(super().get_train_dataloader())

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader[Any]:
        """The validation batches of all processes together."""
        return self._of_all(super().get_eval_dataloader(*args, **kwargs))

    def _of_all(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        if not self.group.is_alone:
            # accelerate gives each process other batches, and repeats rows where the last ones do not suffice.
            batches = loader.batch_sampler
            batches.num_processes, batches.process_index, batches.even_batches = 1, 0, False
        return loader

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """The loss on the batch of all processes, the same everywhere. Raises Interrupted in all of them where one is
        to stop."""
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        if self.group.is_alone or loss is None:
            return loss, logits, labels
        answers = int((inputs["labels"][:, 1:] != IGNORED).sum())
        own_total = loss.item() * answers if answers else 0.0
        total, count, stops = self.group.sum(own_total, answers, self.monitor.stop_requested)
        if stops:
            raise Interrupted
        return torch.tensor(total / count, device=loss.device), logits, labels

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As one process does it: its losses are those of all already."""
        if not self.group.is_alone:
            self.gather_function = self._without_gathering
        return super().evaluation_loop(*args, **kwargs)

    def _without_gathering(self, losses: torch.Tensor) -> torch.Tensor:
        state = self.accelerator.gradient_state
        return losses[: state.remainder] if state.end_of_dataloader and state.remainder > 0 else losses
