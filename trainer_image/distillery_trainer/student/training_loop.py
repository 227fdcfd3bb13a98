"""TRL's SFTTrainer as this project uses it: loss on the answers alone, a checkpoint at every epoch's end and every few
minutes, the best one by validation loss kept, a stop on request, and no noise.

Faster than the trainer's own defaults where that costs nothing: frozen weights are held in the precision they are
multiplied in, the output layer runs for the answers' positions only, and activations are kept instead of being computed
twice while they fit into memory.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftConfig
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from distillery_api.spec import Training
from distillery_trainer.student.device import Device
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow

CHECKPOINT_SECONDS = 300.0
"""Most seconds of training that a kill can cost."""
_STATE_FILE = "trainer_state.json"
_ACTIVATION_BYTES = 34
"""Bytes kept for the backward pass per token, layer and hidden unit in 16-bit arithmetic, attention computed blockwise
(Korthikanti et al., arXiv 2205.05198, section 4.1)."""


class NotFinite(Exception):
    """The loss became infinite or not a number."""


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose output layer runs only for the positions that the loss is about.

    TRL's own kernel for that needs Triton. With prompts of 100 tokens and answers of 3, the output layer of a small
    model with a large vocabulary is a third of the work of a step.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean negative log-likelihood of the answers' tokens, a scalar."""
        if return_outputs or self.aux_loss_enabled:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        answers = following != IGNORED
        texts = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**texts, logits_to_keep=answers, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), following[answers], reduction="sum")
        return loss / (answers.sum() if num_items_in_batch is None else num_items_in_batch)


@dataclass
class TrainingMonitor(TrainerCallback):  # type: ignore[misc]
    """What happens beside the training: progress, checkpoints by the clock, stopping when asked, and noticing a loss
    that is no number."""

    report: Callable[[int, int], None]
    """Called with the steps done and in all."""
    clock: Callable[[], float] = time.monotonic
    asked_to_stop: bool = False
    _last_save: float = field(init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self._last_save = self.clock()

    def stop(self) -> None:
        """Ask for a checkpoint and the end of the training. May be called from a signal handler."""
        self.asked_to_stop = True

    def on_train_begin(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Show how much there is to do, after a restart from where it goes on."""
        self.report(state.global_step, state.max_steps)

    def on_step_end(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Report; ask for a checkpoint where one is due."""
        self.report(state.global_step, state.max_steps)
        if _at_end_of_epoch(state):
            # The epoch's own evaluation and checkpoint come next; going on from a checkpoint made here would skip them.
            control.should_log = True
        elif self.asked_to_stop or self.clock() - self._last_save > CHECKPOINT_SECONDS:
            control.should_log = control.should_save = True
            control.should_training_stop = self.asked_to_stop

    def on_epoch_end(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Do nothing more for an epoch that was broken off: its checkpoint is written."""
        if not _at_end_of_epoch(state):
            control.should_evaluate = control.should_save = False

    def on_save(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Note when that was; stop where that was asked for during the epoch's last step or its evaluation."""
        self._last_save = self.clock()
        control.should_training_stop |= self.asked_to_stop

    def on_log(
        self, args: SFTConfig, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        """Raise NotFinite for a loss that is no number, so that it does not train on."""
        for name in ("loss", "eval_loss"):
            if not math.isfinite(float(logs.get(name, 0.0))):
                raise NotFinite(f"{name} is {logs[name]} after step {state.global_step}")


def _at_end_of_epoch(state: TrainerState) -> bool:
    return float(state.epoch or 0.0).is_integer()


@dataclass(frozen=True)
class TunedModel:
    """What a training came to."""

    checkpoint: Path
    """The checkpoint with the lowest validation loss."""
    steps: int
    train_loss: float
    """Mean over the epoch that ended with the checkpoint."""
    validation_loss: float
    trainable_parameters: int


@dataclass(frozen=True)
class Tuning:
    """What is to be trained, on what, and how."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapters: PeftConfig | None
    """None trains every weight."""
    train_rows: Sequence[EncodedRow]
    validation_rows: Sequence[EncodedRow]
    """They choose the checkpoint."""
    training: Training
    device: Device
    folder: Path
    """Of the checkpoints."""

    def keeps_activations(self) -> bool:
        """Whether the activations of the largest possible step take at most half of the free memory."""
        longest = max(len(row.input_ids) for row in self.train_rows)
        config = self.model.config.get_text_config()
        width = _ACTIVATION_BYTES * config.num_hidden_layers * config.hidden_size
        scale = 1 if self.device.dtype is torch.bfloat16 else 2
        needed: int = longest * self.training.batch_size * width * scale
        return needed < self.device.free_memory() // 2


def tune(tuning: Tuning, watch: TrainingMonitor) -> TunedModel | None:
    """Train, and go on from the last checkpoint in the folder.

    None comes back where the watch was asked to stop; a checkpoint is written then. Raises NotFinite.
    """
    trainer = AnswerTrainer(
        model=tuning.model,
        args=trainer_arguments(tuning),
        train_dataset=_dataset(tuning.train_rows),
        eval_dataset=_dataset(tuning.validation_rows),
        processing_class=tuning.tokenizer,
        peft_config=tuning.adapters,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(tuning.folder))
    return None if watch.asked_to_stop else _outcome(trainer, tuning.folder)


def trainer_arguments(tuning: Tuning) -> SFTConfig:
    """The trainer's settings for the manifest's."""
    training, device = tuning.training, tuning.device
    return SFTConfig(
        output_dir=str(tuning.folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=2 * training.batch_size,
        learning_rate=training.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.95,
        seed=training.seed,
        bf16=device.dtype is torch.bfloat16,
        use_cpu=device.is_cpu,
        dataloader_pin_memory=not device.is_cpu,
        gradient_checkpointing=not tuning.keeps_activations(),
        max_length=None,
        completion_only_loss=True,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=10,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def _dataset(rows: Sequence[EncodedRow]) -> Dataset:
    return Dataset.from_dict({"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]})


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint; what a kill left half written is removed."""
    while folder.is_dir() and (found := get_last_checkpoint(folder)):
        # The state is written last.
        if _is_complete(Path(found) / _STATE_FILE):
            return str(found)
        shutil.rmtree(found)
    return None


def _is_complete(state: Path) -> bool:
    try:
        TrainerState.load_from_json(str(state))
    except (OSError, ValueError, TypeError):
        return False
    return True


def _outcome(trainer: SFTTrainer, folder: Path) -> TunedModel:
    state = trainer.state
    kept = state.best_global_step
    return TunedModel(
        checkpoint=folder / f"checkpoint-{kept}",
        steps=state.global_step,
        train_loss=_mean_loss(state, after=kept - state.max_steps // state.num_train_epochs, until=kept),
        validation_loss=state.best_metric,
        trainable_parameters=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
    )


def _mean_loss(state: TrainerState, *, after: int, until: int) -> float:
    """The mean of the logged training losses over a range of steps, each weighted with the steps that it stands for."""
    total, previous = 0.0, after
    for entry in state.log_history:
        if "loss" in entry and after < entry["step"] <= until:
            total += entry["loss"] * (entry["step"] - previous)
            previous = entry["step"]
    return total / (until - after)
