"""One student of some rows, trained in a folder of its own: what the train stage, a search and a learning curve have in
common.

A training resumes from the last checkpoint of an earlier attempt.
"""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from peft import LoraConfig
from transformers import PreTrainedModel, TrainerCallback

from distillery_api.paths import StageFolder
from distillery_api.reasons import Reason
from distillery_api.run_config import GENERATION_BATCH_ROWS, RunConfig
from distillery_api.spec.durations import parse_duration
from distillery_api.stage import Stage
from distillery_api.stage_result import TrainingFigures, TrainingSettings
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.evaluation.validation_score import ValidationScore, rows_to_score
from distillery_trainer.processes.process_group import this_group
from distillery_trainer.runtime.errors import PartialResult, StageError, Terminated, UserError
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.runtime.stage_metrics import StepProgress
from distillery_trainer.stages.encoded_rows import EncodedRows
from distillery_trainer.stages.less_memory import OutOfMemory, in_less_memory
from distillery_trainer.stages.preferences import with_preferences
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.checkpoint_errors import checkpoint_errors_explained
from distillery_trainer.student.chosen_settings import chosen_batch_size, chosen_settings, explanation
from distillery_trainer.student.device import Device, choose_device, is_out_of_memory
from distillery_trainer.student.kept_base import kept_base, leave_adapter
from distillery_trainer.student.lora import lora_adapters, merged, save_adapter
from distillery_trainer.student.loss_watch import TrainingFailed
from distillery_trainer.student.model_folder import ModelFolder, locate, open_folder
from distillery_trainer.student.model_sizes import known_sizes
from distillery_trainer.student.saving import save_student
from distillery_trainer.student.tracker_callbacks import reported, tracker_callbacks
from distillery_trainer.student.trained_weights import load_to_train, where_to_merge
from distillery_trainer.student.training_log import TrainingLog
from distillery_trainer.student.training_loop import TrainedModel, TrainingSetup, train, training_load
from distillery_trainer.student.training_memory import divided_if_needed
from distillery_trainer.student.training_monitor import TrainingMonitor
from distillery_trainer.tasks import task_for


@dataclass(frozen=True)
class TrainedStudent:
    """The end of a training."""

    checkpoint: Path
    """The best one, among others in the folder's checkpoints."""
    figures: TrainingFigures


def make_student(config: RunConfig, base: ModelFolder, rows: EncodedRows, progress: StepProgress) -> TrainingFigures:
    """Train on the rows, and save adapter and model in the stage's folder. Raises StageError."""
    folder, is_first = config.stage_folder, this_group().is_first
    figures = this_group().first_decides(partial(_saved_before, folder))
    if figures is None:
        trained = train_student(config, base, rows, progress)
        figures = trained.figures
        if is_first:
            keep_student(config, base, rows, trained.checkpoint)
            # Only after this may the checkpoints go: a training whose student is saved is not repeated.
            write_atomically(folder.trained, figures.model_dump_json(by_alias=True, exclude_none=True).encode())
    if is_first:
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return figures


def _saved_before(folder: StageFolder) -> TrainingFigures | None:
    """The figures of a student that an earlier attempt has saved, and was ended before it could report."""
    if not folder.model.exists() or not folder.trained.exists():
        return None
    return TrainingFigures.model_validate_json(folder.trained.read_bytes())


def train_student(config: RunConfig, base: ModelFolder, rows: EncodedRows, progress: StepProgress) -> TrainedStudent:
    """Train on the rows, together with the group's other processes, and leave the best checkpoint; out of memory, with
    smaller micro-batches where there are no others. Raises StageError and ProcessLost."""
    group, batch_size = this_group(), chosen_batch_size(config.training, len(rows.train))
    device = choose_device(group.on_this_node)

    def attempt(micro_batches: int, recompute: bool) -> TrainedStudent:
        smaller = config.model_copy(update={"micro_batches": micro_batches})
        score = _score(smaller, base, rows, device)
        trained, settings = _train(smaller, base, rows, device, progress, score=score, recompute=recompute)
        began = time.monotonic()
        trained, objective = with_preferences(
            smaller,
            base,
            rows,
            trained=trained,
            settings=settings,
            device=device,
            score=score,
            progress=progress,
            recompute=recompute,
        )
        figures = _figures(replace(trained, seconds=trained.seconds + time.monotonic() - began), settings, device)
        return TrainedStudent(trained.checkpoint, figures.model_copy(update={"objective": objective}))

    parts = min(config.micro_batches, batch_size)
    with _failures_explained(rows.partial_result()):
        return in_less_memory(attempt, batch_size, parts) if group.is_alone else attempt(parts, False)


def keep_student(config: RunConfig, base: ModelFolder, rows: EncodedRows, checkpoint: Path) -> None:
    """Save adapter and model of a checkpoint in the stage's folder. Raises StageError."""
    with _failures_explained(rows.partial_result()):
        _save(config, base, checkpoint, config.stage_folder, choose_device())


# --- the base model


def base_model(config: RunConfig) -> ModelFolder:
    """The model to train; where it is to be served with adapters, as it is kept for that."""
    rendering = _rendering(config)
    if config.base_folder:
        base = kept_base(config, config.base_folder, rendering)
    else:
        base = open_folder(locate(config), config.student.model.uri, rendering.template)
    return replace(base, pictures=PictureFiles(config.paths.pictures))


def _rendering(config: RunConfig) -> Rendering:
    """The same in every attempt, so that a resumed training continues with the same tokens."""
    rows_written = config.input_folder(Stage.GENERATE).train.stat().st_mtime
    return Rendering.of(config, datetime.fromtimestamp(rows_written, UTC).date())


# --- the training


def _train(
    config: RunConfig,
    base: ModelFolder,
    rows: EncodedRows,
    device: Device,
    progress: StepProgress,
    *,
    score: ValidationScore | None,
    recompute: bool,
) -> tuple[TrainedModel, TrainingSettings]:
    folder, limit = config.stage_folder.checkpoints, config.training.max_duration
    monitor = TrainingMonitor(lambda done, total: progress.update(done, total, "steps"), progress.alive)
    monitor.max_seconds = parse_duration(limit).total_seconds() if limit else None
    with checkpoint_errors_explained(folder):
        shards = _shards(config, base, rows, device)
        model = load_to_train(base, config.training.method, device, on_host=shards)
        settings = _settings(config, len(rows.train), model.num_parameters())
        observers = _observers(config, progress) if this_group().is_first else ()
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
            micro_batches=config.micro_batches,
            recompute=recompute,
            picture_inputs=base.picture_inputs,
            shards=shards,
            score=score if score and not shards and score.works(model) else None,
            observers=observers,
        )
        if this_group().is_first:
            sys.stderr.write(_execution(setup))
        with reported(observers):
            trained = train(setup, monitor)
    if trained is None:
        raise Terminated("The training was stopped after saving a checkpoint. Run again to resume from it.")
    return trained, settings


def _shards(config: RunConfig, base: ModelFolder, rows: EncodedRows, device: Device) -> bool:
    """Whether the processes have to divide the model, since it does not fit into one GPU; says so in the log."""
    group, sizes = this_group(), known_sizes(base.config)
    if group.is_alone or device.is_cpu or sizes is None:
        return False
    settings = chosen_settings(config.training, len(rows.train), sizes.parameters)
    load = training_load(rows.train, config.training, settings, device)
    divided = divided_if_needed(sizes, load, group.size, device.total_memory())
    (shards,) = group.any(divided.processes > 1)
    if shards and group.is_first:
        sys.stderr.write(
            f"The model does not fit into one GPU with all that its training needs, so the {group.size} processes"
            " divide it (FSDP), and checkpoints are compared by their loss.\n"
        )
    return shards


def _execution(setup: TrainingSetup) -> str:
    """One line: what was chosen for the device."""
    attention = getattr(setup.model.config, "_attn_implementation", None) or "the model's own"
    activations = "kept" if setup.keeps_activations else "computed again in the backward pass"
    return (
        f"Device: {setup.device.name}; {setup.device.precision} arithmetic, {attention} attention, activations"
        f" {activations}.\n"
    )


def _observers(config: RunConfig, progress: StepProgress) -> tuple[TrainerCallback, ...]:
    """What is told how the training goes."""
    # The trainings of a learning curve belong to evaluate, which reports no figures of a training.
    reported = [progress.training_figures] if config.stage is Stage.TRAIN else []
    log = TrainingLog(config.stage_folder.training_log, *reported)
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
def _failures_explained(partial_result: PartialResult) -> Iterator[None]:
    """Turn failures of a training into errors that name the setting to change."""
    try:
        yield
    except TrainingFailed as error:
        message = f"The training diverged: {error}. {error.remedy}"
        raise UserError(message, reason=Reason.TRAINING_FAILED, partial_result=partial_result) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        tried = error.micro_batches if isinstance(error, OutOfMemory) else None
        message = _out_of_memory(f" {error}" if tried else "")
        partial_result = replace(partial_result, micro_batches=tried)
        raise UserError(message, reason=Reason.OUT_OF_MEMORY, partial_result=partial_result) from error
    except StageError as error:
        error.partial_result = partial_result
        raise


def _out_of_memory(tried: str) -> str:
    return (
        f"The training ran out of memory{tried}. Lower training.maxLength, choose a smaller student, or use a device"
        " with more memory."
    )


# --- the result


def _figures(trained: TrainedModel, settings: TrainingSettings, device: Device) -> TrainingFigures:
    return TrainingFigures(
        steps=trained.steps,
        planned_steps=trained.planned_steps if trained.is_over_time else None,
        train_loss=round(trained.train_loss, 6),
        validation_loss=round(trained.validation_loss, 6),
        validation_score=None if trained.validation_score is None else round(trained.validation_score, 6),
        settings=settings,
        trainable_parameters=trained.trainable_parameters,
        device=device.kind,
        precision=device.precision,
        seconds=round(trained.seconds, 1),
        losses=trained.losses,
    )
