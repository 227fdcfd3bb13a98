"""One student of some rows, trained in a folder of its own: what the train stage, a search and a learning curve have in
common.

A training resumes from the last checkpoint of an earlier attempt.
"""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from peft import LoraConfig
from transformers import PreTrainedModel, TrainerCallback

from distillery_api.paths import StageFolder
from distillery_api.reasons import Reason
from distillery_api.run_config import GENERATION_BATCH_ROWS, RunConfig
from distillery_api.spec.training import MAX_CHOSEN_BATCH_SIZE
from distillery_api.stage import Stage
from distillery_api.stage_result import TrainingFigures, TrainingSettings
from distillery_trainer.evaluation.validation_score import ValidationScore, rows_to_score
from distillery_trainer.processes.process_group import this_group
from distillery_trainer.runtime.errors import PartialResult, StageError, Terminated, UserError
from distillery_trainer.runtime.signals import on_termination
from distillery_trainer.runtime.stage_metrics import StepProgress
from distillery_trainer.stages.encoded_rows import EncodedRows
from distillery_trainer.stages.preferences import with_preferences
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.chosen_settings import chosen_batch_size, chosen_settings, explanation
from distillery_trainer.student.device import Device, choose_device, is_out_of_memory
from distillery_trainer.student.kept_base import kept_base, leave_adapter
from distillery_trainer.student.lora import lora_adapters, merged, save_adapter
from distillery_trainer.student.model_folder import ModelFolder, locate, open_folder
from distillery_trainer.student.saving import save_student, weight_storage_errors_explained
from distillery_trainer.student.tracker_callbacks import tracker_callbacks
from distillery_trainer.student.trained_weights import load_to_train, where_to_merge
from distillery_trainer.student.training_log import TrainingLog
from distillery_trainer.student.training_loop import NonFiniteLoss, TrainedModel, TrainingMonitor, TrainingSetup, train
from distillery_trainer.tasks import task_for

Made = TypeVar("Made")


@dataclass(frozen=True)
class TrainedStudent:
    """The end of a training."""

    checkpoint: Path
    """The best one, among others in the folder's checkpoints."""
    figures: TrainingFigures


def make_student(config: RunConfig, base: ModelFolder, rows: EncodedRows, progress: StepProgress) -> TrainingFigures:
    """Train on the rows, and save adapter and model in the stage's folder. Raises StageError."""
    trained = train_student(config, base, rows, progress)
    if this_group().is_first:
        keep_student(config, base, rows, trained.checkpoint)
        shutil.rmtree(config.stage_folder.checkpoints)
    return trained.figures


def train_student(config: RunConfig, base: ModelFolder, rows: EncodedRows, progress: StepProgress) -> TrainedStudent:
    """Train on the rows, together with the group's other processes, and leave the best checkpoint. Raises StageError
    and ProcessLost."""
    device, started = choose_device(this_group().on_this_node), time.monotonic()
    with _failures_explained(config, rows.partial_result()):
        trained, settings = _train(config, base, rows, device, progress)
        trained, objective = with_preferences(
            config,
            base,
            rows,
            trained=trained,
            settings=settings,
            device=device,
            score=_score(config, base, rows, device),
            progress=progress,
        )
    figures = _figures(trained, settings, device, time.monotonic() - started)
    return TrainedStudent(trained.checkpoint, figures.model_copy(update={"objective": objective}))


def keep_student(config: RunConfig, base: ModelFolder, rows: EncodedRows, checkpoint: Path) -> None:
    """Save adapter and model of a checkpoint in the stage's folder. Raises StageError."""
    with _failures_explained(config, rows.partial_result()):
        _save(config, base, checkpoint, config.stage_folder, choose_device())


def in_less_memory(config: RunConfig, rows: EncodedRows, make: Callable[[RunConfig], Made]) -> Made:
    """What `make` gives for one student of several: after each attempt that runs out of memory, its batches are
    processed in smaller parts, where the train stage leaves that to its next attempt. Raises StageError."""
    while True:
        try:
            return make(config)
        except UserError as error:
            parts = more_micro_batches(config, len(rows.train))
            if error.reason is not Reason.OUT_OF_MEMORY or parts is None or not this_group().is_alone:
                raise
            config = config.model_copy(update={"micro_batches": parts})
        gc.collect()  # the model that did not fit


def more_micro_batches(config: RunConfig, rows: int) -> int | None:
    """The next larger number of equal parts of a training batch; None where each row is a part already."""
    size = chosen_batch_size(config.training, rows)
    return next((parts for parts in range(config.micro_batches + 1, size + 1) if size % parts == 0), None)


# --- the base model


def base_model(config: RunConfig) -> ModelFolder:
    """The model to train; where it is to be served with adapters, as it is kept for that."""
    if config.base_folder:
        return kept_base(config, config.base_folder, _rendering(config))
    return open_folder(locate(config), config.student.model.uri, _rendering(config).template)


def _rendering(config: RunConfig) -> Rendering:
    """The same in every attempt, so that a resumed training continues with the same tokens."""
    rows_written = config.input_folder(Stage.GENERATE).train.stat().st_mtime
    return Rendering.of(config, datetime.fromtimestamp(rows_written, UTC).date())


# --- the training


def _train(
    config: RunConfig, base: ModelFolder, rows: EncodedRows, device: Device, progress: StepProgress
) -> tuple[TrainedModel, TrainingSettings]:
    folder = config.stage_folder.checkpoints
    monitor = TrainingMonitor(lambda done, total: progress.update(done, total, "steps"), progress.alive)
    with on_termination(monitor.stop), weight_storage_errors_explained(str(folder)):
        model = load_to_train(base, config.training.method, device)
        settings = _settings(config, len(rows.train), model.num_parameters())
        score = _score(config, base, rows, device)
        setup = TrainingSetup(
            model=model,
            tokenizer=base.tokenizer,
            adapters=_adapters(config, settings, model),
            train_rows=rows.train,
            validation_rows=rows.validation,
            training=config.training,
            settings=settings,
            device=device,
            folder=folder,
            micro_batches=min(config.micro_batches, settings.batch_size),
            score=score if score and score.works(model) else None,
            observers=_observers(config, progress) if this_group().is_first else (),
        )
        if this_group().is_first:
            sys.stderr.write(_execution(setup))
        trained = train(setup, monitor)
    if trained is None:
        raise Terminated("The training was stopped after saving a checkpoint. Run again to resume from it.")
    return trained, settings


def _execution(setup: TrainingSetup) -> str:
    """One line: what was chosen for the device."""
    attention = getattr(setup.model.config, "_attn_implementation", None) or "the model's own"
    activations = "kept" if setup.keeps_activations() else "computed again in the backward pass"
    return (
        f"Device: {setup.device.name}; {setup.device.precision} arithmetic, {attention} attention, activations"
        f" {activations}.\n"
    )


def _observers(config: RunConfig, progress: StepProgress) -> tuple[TrainerCallback, ...]:
    """What is told how the training goes."""
    log = TrainingLog(config.stage_folder.training_log, progress.training_figures)
    return (log, *tracker_callbacks(config))


def _settings(config: RunConfig, rows: int, parameters: int) -> TrainingSettings:
    settings = chosen_settings(config.training, rows, parameters)
    if this_group().is_first:
        sys.stderr.write(explanation(config.training, settings, rows, parameters) + "\n")
        sys.stderr.write(_idle_processes(settings.batch_size, this_group().size))
    return settings


def _idle_processes(batch_size: int, processes: int) -> str:
    if batch_size >= processes:
        return ""
    return (
        f"A batch of {batch_size} rows leaves {processes - batch_size} of {processes} processes without a row. Raise"
        f" training.batchSize to {processes}, or lower training.gpusPerNode or training.nodes.\n"
    )


def _adapters(config: RunConfig, settings: TrainingSettings, model: PreTrainedModel) -> LoraConfig | None:
    if settings.rank is None or settings.alpha is None:
        return None
    layers = adapted_layers(model)
    return lora_adapters(config.training.method, settings.rank, settings.alpha, config.training.lora.dropout, layers)


def _score(config: RunConfig, base: ModelFolder, rows: EncodedRows, device: Device) -> ValidationScore | None:
    """What checkpoints are compared by; None where that is their loss."""
    scored = rows_to_score(rows.scored, len(rows.train))
    if not scored or config.generation.keep_reasoning:
        return None
    at_a_time = max(1, GENERATION_BATCH_ROWS // config.micro_batches)
    return ValidationScore(task_for(config), scored, base, device, at_a_time)


def _save(config: RunConfig, base: ModelFolder, checkpoint: Path, folder: StageFolder, device: Device) -> None:
    gc.collect()  # the trainer's model is no longer needed, and merging loads another one
    if config.training.method.trains_adapters:
        save_adapter(checkpoint, folder.adapter)
        save_student(merged(base, folder.adapter, where_to_merge(base, device)), base, folder.model)
        if config.base_folder:
            leave_adapter(folder.adapter, config.paths.served_adapter(config.folder))
        return
    student = open_folder(checkpoint, base.uri).load(base.config.dtype or "float32")
    save_student(student, base, folder.model)


@contextmanager
def _failures_explained(config: RunConfig, partial_result: PartialResult) -> Iterator[None]:
    """Turn failures of a training into errors that name the setting to change."""
    try:
        yield
    except NonFiniteLoss as error:
        message = f"The training diverged: {error}. Lower training.learningRate, or raise training.warmupSteps."
        raise UserError(message, reason=Reason.TRAINING_FAILED, partial_result=partial_result) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(_out_of_memory(config), reason=Reason.OUT_OF_MEMORY, partial_result=partial_result) from error
    except StageError as error:
        error.partial_result = partial_result
        raise


def _out_of_memory(config: RunConfig) -> str:
    divisible = config.micro_batches < (config.training.with_preset.batch_size or MAX_CHOSEN_BATCH_SIZE)
    batch = "training.batchSize or " if divisible else ""
    where = "The training ran out of memory" + ("" if divisible else ", even for one row at a time")
    return f"{where}. Lower {batch}training.maxLength, choose a smaller student, or use a device with more memory."


# --- the result


def _figures(trained: TrainedModel, settings: TrainingSettings, device: Device, seconds: float) -> TrainingFigures:
    return TrainingFigures(
        steps=trained.steps,
        train_loss=round(trained.train_loss, 6),
        validation_loss=round(trained.validation_loss, 6),
        validation_score=None if trained.validation_score is None else round(trained.validation_score, 6),
        settings=settings,
        trainable_parameters=trained.trainable_parameters,
        device=device.kind,
        precision=device.precision,
        seconds=round(seconds, 1),
        losses=trained.losses,
    )
