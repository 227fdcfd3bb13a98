"""The training loop: TRL's SFTTrainer with the loss on the answers only, a checkpoint after every epoch and every few
minutes, the best checkpoint on the validation rows kept, an end where further epochs gain nothing, a stop on request,
and no log output of its own.

It is faster than the trainer's defaults where that costs nothing: frozen weights are stored in the precision of the
arithmetic, the output layer runs for the positions of the answers only, and activations are kept instead of being
recomputed if they fit into memory.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, TrainerState
from trl import SFTConfig

from distillery_api.spec import Training
from distillery_api.stage_result import EpochLosses, TrainingSettings
from distillery_trainer.processes.process_group import this_group
from distillery_trainer.runtime.signals import on_termination
from distillery_trainer.student.checkpoint_choice import (
    FIGURE,
    LOSS,
    SCORE,
    ScoreModel,
    figure,
    gains_nothing,
    measured,
    owes_evaluation,
    was_chosen_by_loss,
)
from distillery_trainer.student.checkpoint_settings import checkpoint_settings
from distillery_trainer.student.checkpoints import (
    CheckpointNote,
    checkpoint_path,
    last_checkpoint,
    mark_unevaluated,
    read_note,
    read_state,
)
from distillery_trainer.student.device import Device, is_out_of_memory
from distillery_trainer.student.lora import share_inputs
from distillery_trainer.student.loss_watch import LossWatch
from distillery_trainer.student.model_sizes import known_sizes
from distillery_trainer.student.objectives import objective_for
from distillery_trainer.student.objectives.objective import AnswerTokens, Objective
from distillery_trainer.student.objectives.row_batches import (
    COLUMNS,
    ROW,
    TARGETS,
    PictureInputs,
    RowBatches,
    bring_more,
    no_inputs,
)
from distillery_trainer.student.resumable_trainer import ResumableTrainer
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.student.sharding import ShardedTrainer
from distillery_trainer.student.shared_batches import SharedBatchTrainer
from distillery_trainer.student.similar_lengths import SimilarLengthsTrainer
from distillery_trainer.student.training_memory import TrainingLoad, keeps_activations
from distillery_trainer.student.training_monitor import EvaluationMadeUp, Interrupted, TrainingMonitor


class AnswerTrainer(SharedBatchTrainer, SimilarLengthsTrainer, ShardedTrainer, ResumableTrainer):
    """A trainer whose output layer runs only for the positions that the loss covers.

    TRL's own kernel for this needs Triton. With prompts of 100 tokens and answers of 3, the output layer of a small
    model with a large vocabulary is a third of the work of a step.
    """

    score: ScoreModel | None = None
    """Scores the model's answers to validation rows; None where checkpoints are compared by their loss."""
    objective: Objective
    """What the training makes small."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The objective's mean loss of the answers' tokens, a scalar; in an evaluation their mean negative
        log-likelihood, whatever the objective."""
        brings_more = TARGETS in inputs or COLUMNS in inputs
        if return_outputs or (self.aux_loss_enabled and not brings_more):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.get(TARGETS, inputs["labels"])
        following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        answers = following != IGNORED
        texts = {name: value for name, value in inputs.items() if name not in ("labels", TARGETS, COLUMNS)}
        routers = {"output_router_logits": True} if self.aux_loss_enabled else {}
        outputs = model(**texts, **routers, logits_to_keep=answers, use_cache=False)
        loss = self.objective.loss(AnswerTokens(outputs.logits.float(), following[answers], inputs.get(COLUMNS, {})))
        if self.aux_loss_enabled:
            loss = loss + self._routers_share(outputs.aux_loss, num_items_in_batch, answers)
        if num_items_in_batch is None:
            return loss / answers.sum()
        # These are the items of all processes, over which the gradients are averaged.
        return loss * self.group.size / num_items_in_batch

    def _routers_share(self, balance: torch.Tensor, items: torch.Tensor | int | None, answers: torch.Tensor) -> Any:
        """What the routers' own loss, a mean over a micro-batch, adds to the sum that is divided by the items."""
        if items is None:
            return self.router_aux_loss_coef * balance * answers.sum()
        steps = self.current_gradient_accumulation_steps
        return self.router_aux_loss_coef * balance * items / self.group.size / steps

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The loss on the validation rows, and where the task's score is wanted, that and the figure of both."""
        with self.monitor.interruptible():
            output = super().evaluation_loop(*args, **kwargs)
            if self.score is not None:
                score = self.score(self.model)
                output.metrics.update({SCORE: score, FIGURE: figure(score, output.metrics[LOSS])})
        return output


@dataclass(frozen=True)
class TrainedModel:
    """The result of a training."""

    checkpoint: Path
    """The best checkpoint by the score on the validation rows, or by their loss."""
    steps: int
    planned_steps: int
    """Of all epochs."""
    seconds: float
    """How long the training took, over all attempts, but for what was lost."""
    is_over_time: bool
    """Whether it ended because it had taken as long as it may."""
    train_loss: float
    """Mean over the epoch that ended with the checkpoint."""
    validation_loss: float
    validation_score: float | None
    """None where the checkpoint was chosen by its loss."""
    trainable_parameters: int
    losses: tuple[EpochLosses, ...]
    """By epoch, in order."""


@dataclass(frozen=True)
class TrainingSetup:
    """The model, rows and settings of a training."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapters: PeftConfig | None
    """None trains all weights."""
    train_rows: Sequence[EncodedRow]
    validation_rows: Sequence[EncodedRow]
    """They select the checkpoint."""
    training: Training
    settings: TrainingSettings
    """What `training` leaves out, chosen."""
    device: Device
    folder: Path
    """For the checkpoints."""
    micro_batches: int = 1
    """Number of parts in which each batch is processed; a divisor of the batch size. Their gradients are added up, so
    the weights stay the same, up to rounding."""
    recompute: bool = False
    """Whether activations are recomputed whatever memory there seems to be."""
    picture_inputs: PictureInputs = no_inputs
    """What the model needs for the pictures of a batch."""
    shards: bool = False
    """Whether the processes divide the model, which is in the host's memory, in place of a copy for each."""
    score: ScoreModel | None = None
    """Scores answers to validation rows, to select the checkpoint by that; None to select it by its loss."""
    observers: Sequence[TrainerCallback] = ()
    """What is told how the training goes, and does not change it."""

    @property
    def rows_at_a_time(self) -> int:
        """Number of rows in memory at a time, in all processes."""
        return max(1, self.settings.batch_size // self.micro_batches)

    @cached_property
    def keeps_activations(self) -> bool:
        """Whether the activations of the largest possible micro-batch need less than half of the free memory. Once
        the memory was exhausted, none are kept; nor are those of a model whose sizes are unknown."""
        sizes = None if self.recompute or self.micro_batches > 1 else known_sizes(self.model.config)
        if sizes is None:
            return False
        sharing = this_group().on_this_node if self.device.is_cpu else 1
        load = training_load(self.train_rows, self.training, self.settings, self.device)
        return keeps_activations(sizes, load, self.device.free_memory() // sharing)


def training_load(
    rows: Sequence[EncodedRow], training: Training, settings: TrainingSettings, device: Device
) -> TrainingLoad:
    """The largest possible batch of the rows, as one process has it in memory at a time."""
    sequences = [each for row in rows for each in (row, *row.siblings)]
    own = math.ceil(settings.batch_size / this_group().size)
    return TrainingLoad(
        method=training.method,
        number_bytes=device.dtype.itemsize,
        rank=settings.rank or 0,
        sequences=own * max(1 + len(row.siblings) for row in rows),
        length=max(len(each.input_ids) for each in sequences),
        answer=max(each.answer_length for each in sequences),
    )


def train(setup: TrainingSetup, monitor: TrainingMonitor) -> TrainedModel | None:
    """Train, resuming from the last checkpoint in the folder.

    Returns None if the monitor was asked to stop; a checkpoint is saved then. Raises TrainingFailed; MemoryError or
    RuntimeError if the memory is exhausted: where that was in the midst of a step, a checkpoint of the last one is
    saved.
    """
    group = this_group()
    monitor.note = _note(setup)
    resumed = group.first_decides(partial(last_checkpoint, setup.folder, monitor.note))
    before = read_state(resumed) if resumed else None
    trainer = _trainer(setup, monitor, by_score=not (before and was_chosen_by_loss(before)))
    with on_termination(monitor.stop):
        try:
            _train(trainer, setup, monitor, resumed)
        except Interrupted:
            monitor.save_completed_step()
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error) and group.is_alone:
                monitor.save_completed_step()
            raise
    return None if group.any(monitor.stop_requested)[0] else _outcome(trainer, monitor, setup.folder)


def _note(setup: TrainingSetup) -> CheckpointNote:
    rows = (setup.train_rows, setup.validation_rows)
    return CheckpointNote(checkpoint_settings(setup.training, setup.settings, *rows, setup.model))


def _trainer(setup: TrainingSetup, monitor: TrainingMonitor, *, by_score: bool) -> AnswerTrainer:
    score = setup.score if by_score else None
    trainer = AnswerTrainer(
        model=setup.model,
        args=trainer_arguments(setup, by_score=score is not None),
        data_collator=_batches(setup),
        train_dataset=_dataset(setup.train_rows),
        eval_dataset=_dataset(setup.validation_rows, first=len(setup.train_rows)),
        processing_class=setup.tokenizer,
        peft_config=setup.adapters,
        callbacks=setup.observers,
        monitor=monitor,
        shards=setup.shards,
    )
    trainer.share_batches()
    if setup.device.dtype is torch.bfloat16:
        share_inputs(trainer.model)
    trainer.objective = objective_for(setup.training.objective)
    trainer.score, monitor.settings, monitor.losses = score, setup.settings, LossWatch(setup.train_rows)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _train(trainer: AnswerTrainer, setup: TrainingSetup, monitor: TrainingMonitor, resumed: Path | None) -> None:
    while resumed:
        state, note = read_state(resumed), read_note(resumed)
        monitor.note, monitor.saved = replace(monitor.note, seconds=note.seconds), resumed
        if not owes_evaluation(state, over_time=monitor.is_over_time()):
            break
        monitor.saved = resumed = this_group().first_decides(partial(mark_unevaluated, resumed))
        with contextlib.suppress(EvaluationMadeUp):
            trainer.train(resume_from_checkpoint=str(resumed))
        resumed = monitor.saved
    if resumed and (gains_nothing(state, setup.settings) or monitor.is_over_time()):
        # The attempt before ended the training, and was interrupted before it could say so.
        trainer.state = state
    else:
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)


def trainer_arguments(setup: TrainingSetup, *, by_score: bool = False) -> SFTConfig:
    """The settings of SFTTrainer for those of the manifest."""
    training, settings, device = setup.training, setup.settings, setup.device
    return SFTConfig(
        output_dir=str(setup.folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=setup.rows_at_a_time,
        per_device_eval_batch_size=2 * setup.rows_at_a_time,
        gradient_accumulation_steps=setup.micro_batches,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.95,
        seed=training.seed,
        bf16=device.dtype is torch.bfloat16,
        use_cpu=device.is_cpu,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not device.is_cpu,
        gradient_checkpointing=this_group().any(not setup.keeps_activations)[0],
        max_length=None,
        remove_unused_columns=False,
        completion_only_loss=True,
        router_aux_loss_coef=None if _trains_routers(setup) else 0.0,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=None,  # the trainer would remove the one before ahead of time
        metric_for_best_model=FIGURE if by_score else LOSS,
        greater_is_better=by_score,
        logging_steps=10,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def _batches(setup: TrainingSetup) -> RowBatches | None:
    """What joins rows that bring more than their answer; None leaves it to the trainer."""
    rows = [*setup.train_rows, *setup.validation_rows]
    return RowBatches(rows, setup.tokenizer.pad_token_id or 0, setup.picture_inputs) if bring_more(rows) else None


def _trains_routers(setup: TrainingSetup) -> bool:
    """Whether the model chooses among experts by weights that are trained: a loss of its own spreads the work."""
    return setup.adapters is None and bool(getattr(setup.model.config.get_text_config(), "num_experts", 0))


def _dataset(rows: Sequence[EncodedRow], first: int = 0) -> Dataset:
    """The rows, of which the first has this number among all that are joined into batches."""
    columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    return Dataset.from_dict({**columns, ROW: list(range(first, first + len(rows)))} if bring_more(rows) else columns)


def _outcome(trainer: AnswerTrainer, monitor: TrainingMonitor, folder: Path) -> TrainedModel:
    state = trainer.state
    best_step = state.best_global_step or state.global_step
    return TrainedModel(
        checkpoint=checkpoint_path(folder, best_step),
        steps=state.global_step,
        planned_steps=state.max_steps,
        seconds=monitor.seconds(),
        is_over_time=monitor.is_over_time() and state.global_step < state.max_steps,
        train_loss=_mean_loss(state, after=_evaluated_before(state, best_step), until=best_step),
        validation_loss=measured(state, best_step, LOSS) or 0.0,
        validation_score=measured(state, best_step, SCORE),
        trainable_parameters=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        losses=tuple(_losses_by_epoch(state)),
    )


def _evaluated_before(state: TrainerState, step: int) -> int:
    return max((entry["step"] for entry in state.log_history if LOSS in entry and entry["step"] < step), default=0)


def _losses_by_epoch(state: TrainerState) -> Iterator[EpochLosses]:
    previous = 0
    for entry in state.log_history:
        if LOSS in entry and entry["step"] > previous:
            train = _mean_loss(state, after=previous, until=entry["step"])
            score = round(entry[SCORE], 6) if SCORE in entry else None
            yield EpochLosses(train=round(train, 6), validation=round(entry[LOSS], 6), score=score)
            previous = entry["step"]


def _mean_loss(state: TrainerState, *, after: int, until: int) -> float:
    """The mean of the logged training losses over a range of steps, each weighted by the steps that it covers."""
    total, previous = 0.0, after
    for entry in state.log_history:
        if "loss" in entry and after < entry["step"] <= until:
            total += entry["loss"] * (entry["step"] - previous)
            previous = entry["step"]
    return total / (until - after)
