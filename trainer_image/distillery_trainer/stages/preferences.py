"""The second part of a training whose objective is Preference."""

from __future__ import annotations

import gc
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from distillery_api.run_config import RunConfig
from distillery_api.spec import ObjectiveKind
from distillery_api.stage_result import ObjectiveFigures, TrainingSettings
from distillery_trainer.runtime.errors import Terminated
from distillery_trainer.runtime.signals import on_termination
from distillery_trainer.runtime.stage_metrics import StepProgress
from distillery_trainer.stages.encoded_rows import EncodedRows
from distillery_trainer.stages.less_memory import OutOfMemory
from distillery_trainer.student.checkpoint_choice import ScoreModel
from distillery_trainer.student.checkpoints import CheckpointNote, read_note
from distillery_trainer.student.device import Device, is_out_of_memory
from distillery_trainer.student.model_folder import ModelFolder, open_folder
from distillery_trainer.student.objectives.pairs import Pair
from distillery_trainer.student.objectives.preference import (
    FOLDER,
    PreferenceSetup,
    Preferred,
    learn_preferences,
    too_few,
)
from distillery_trainer.student.saving import weight_storage_errors_explained
from distillery_trainer.student.trained_weights import load_to_train
from distillery_trainer.student.training_loop import TrainedModel
from distillery_trainer.student.training_monitor import TrainingMonitor


def with_preferences(
    config: RunConfig,
    base: ModelFolder,
    rows: EncodedRows,
    *,
    trained: TrainedModel,
    settings: TrainingSettings,
    device: Device,
    score: ScoreModel | None,
    progress: StepProgress,
    recompute: bool = False,
) -> tuple[TrainedModel, ObjectiveFigures | None]:
    """The student after its preferences, where they are wanted, and what came of them. Raises StageError,
    NonFiniteLoss, and OutOfMemory where there can be no less in memory at a time."""
    if config.training.objective.kind is not ObjectiveKind.PREFERENCE or rows.objective is None:
        return trained, rows.objective
    if problem := too_few(rows.pairs):
        sys.stderr.write(f"{problem}\n")
        return trained, rows.objective.model_copy(update={"note": problem})
    gc.collect()  # the model of the first part is no longer needed
    note = preferences_note(trained.checkpoint, rows.pairs)
    monitor = TrainingMonitor(lambda done, total: progress.update(done, total, "steps"), progress.alive)
    monitor.note = note
    folder = config.stage_folder.checkpoints / FOLDER

    def student() -> PreTrainedModel:
        return _student(config, base, trained, device)

    setup = PreferenceSetup(
        pairs=rows.pairs,
        model=student,
        reference=None if config.training.method.trains_adapters else student,
        tokenizer=base.tokenizer,
        training=config.training,
        settings=settings,
        device=device,
        folder=folder,
        score=score if trained.validation_score is not None else None,
        micro_batches=min(config.micro_batches, settings.batch_size),
        recompute=recompute,
        note=note,
    )
    with on_termination(monitor.stop), weight_storage_errors_explained(str(folder)):
        preferred = _learned(setup, monitor, trained.validation_score)
    if monitor.stop_requested:
        raise Terminated("The training was stopped after saving a checkpoint. Run again to resume from it.")
    sys.stderr.write(f"Preferences: {preferred.note}\n")
    objective = rows.objective.model_copy(update={"note": preferred.note})
    if preferred.checkpoint is None:
        return trained, objective
    return replace(trained, checkpoint=preferred.checkpoint, validation_score=preferred.score), objective


def _learned(setup: PreferenceSetup, monitor: TrainingMonitor, score_before: float | None) -> Preferred:
    try:
        return learn_preferences(setup, monitor, score_before)
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error) and setup.pairs_at_a_time == 1 and setup.recomputes:
            raise OutOfMemory(setup.settings.batch_size, [setup.micro_batches]) from error
        raise


def preferences_note(before: Path, pairs: Sequence[Pair]) -> CheckpointNote:
    """What the second part is determined by: all that the first one was, whose best checkpoint is `before`, and the
    pairs."""
    digest = hashlib.sha256(repr(list(pairs)).encode()).hexdigest()
    return CheckpointNote({**read_note(before).settings, "student before": before.name, "pairs": digest})


def _student(config: RunConfig, base: ModelFolder, trained: TrainedModel, device: Device) -> PreTrainedModel:
    if not config.training.method.trains_adapters:
        return open_folder(trained.checkpoint, base.uri).load("float32")
    return PeftModel.from_pretrained(
        load_to_train(base, config.training.method, device), trained.checkpoint, is_trainable=True
    )
