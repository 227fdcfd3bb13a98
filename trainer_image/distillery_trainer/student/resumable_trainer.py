"""TRL's SFTTrainer as it is resumed: what it writes can be relied on after a kill at any moment, and what it meets on
the way is watched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from trl import SFTTrainer

from distillery_trainer.student.checkpoints import remove_older
from distillery_trainer.student.grace_period import GracePeriod
from distillery_trainer.student.training_monitor import TrainingMonitor


class ResumableTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that removes no checkpoint before the next one is complete. Its monitor seals them."""

    def __init__(self, *, monitor: TrainingMonitor, callbacks: Sequence[TrainerCallback] = (), **options: Any) -> None:
        super().__init__(callbacks=[*callbacks, monitor], **options)
        self.monitor = monitor
        monitor.trainer = self
        self._grace_period = GracePeriod()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The loss of a micro-batch, a scalar; its gradients are added up."""
        began = time.monotonic()
        inputs = dict(args[1] if len(args) > 1 else kwargs["inputs"])
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.monitor.losses.add(self.state.global_step + 1, inputs, loss)
        self._grace_period.micro_batch_took(time.monotonic() - began)
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began = time.monotonic()
        if self.args.should_save:
            remove_older(Path(self.args.output_dir), self.monitor.saved)
        super()._save_checkpoint(model, trial)
        self._grace_period.checkpoint_took(time.monotonic() - began)

    def evaluate_now(self, checkpoint: Path) -> None:
        """Make up for the evaluation that follows a checkpoint, and save another one after it."""
        self._load_rng_state(str(checkpoint))
        self._save_between_steps(evaluate=True)

    def save_now(self) -> None:
        """Save a checkpoint between two steps, whose events are over."""
        self._save_between_steps(evaluate=False)

    def _save_between_steps(self, *, evaluate: bool) -> None:
        self.control.should_log = self.control.should_save = True
        self.control.should_evaluate = evaluate
        self._maybe_log_save_evaluate(self._tr_loss, None, self.model, None, self.state.epoch, None, time.time())
