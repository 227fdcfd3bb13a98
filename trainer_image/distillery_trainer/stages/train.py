"""The train stage: generated rows in, an adapter and the student's model folder out.

It resumes from the last checkpoint of an earlier attempt. No row is truncated: an untrainable row is rejected, counted,
and stored with its reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distillery_api.paths import Artefact, StageFolder
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult, TrainingFigures
from distillery_trainer.processes.process_group import ProcessGroup, joined_group
from distillery_trainer.runtime.errors import storage_errors_explained
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages.encoded_rows import EncodedRows, encode_rows
from distillery_trainer.stages.search import search_student
from distillery_trainer.stages.student_training import base_model, make_student
from distillery_trainer.student.model_card import describe_student
from distillery_trainer.student.model_digest import write_sums
from distillery_trainer.tracking.requirements import check_tracking


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Train the student. Raises StageError and ProcessLost."""
    check_tracking(config)
    quiet_libraries()
    folder = config.stage_folder
    with joined_group(config.progress_timeout_seconds) as group, _written_once(group, folder) as row_folder:
        group.first_decides(lambda: bool(base_model(config)))  # alone, as it may keep the model in the workspace
        base = base_model(config)
        rows = encode_rows(config, base, config.input_folder(Stage.GENERATE), row_folder, progress)
        make = search_student if config.training.search else make_student
        figures = make(config, base, rows, progress)
    if group.is_first:
        with storage_errors_explained(str(folder.model)):
            describe_student(config, base.path, figures)
            figures = figures.model_copy(update={"model_digest": write_sums(folder.model)})
    return _result(config, folder, rows, figures)


@contextmanager
def _written_once(group: ProcessGroup, folder: StageFolder) -> Iterator[StageFolder]:
    """Where a process writes which rows are untrainable: only the first one's is kept."""
    if group.is_first:
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield StageFolder(Path(scratch))


def _files(config: RunConfig, folder: StageFolder, rows: EncodedRows) -> dict[str, str]:
    """The artefacts of the stage; `notTrained` are the untrainable rows."""
    paths = {
        Artefact.ADAPTER: folder.adapter,
        Artefact.MODEL: folder.model,
        Artefact.TRAINING_LOG: folder.training_log,
    }
    if rows.total().rejected:
        paths[Artefact.NOT_TRAINED] = folder.not_trained
    return {name: config.paths.relative(path) for name, path in paths.items() if path.exists()}


def _result(config: RunConfig, folder: StageFolder, rows: EncodedRows, figures: TrainingFigures) -> StageResult:
    total = rows.counts("train")
    rejected = f"; {rows.total().rejected:,} rows rejected" if rows.total().rejected else ""
    chosen = f"; {figures.search.sentence()}" if figures.search else ""
    score = "" if figures.validation_score is None else f" score {figures.validation_score:.3f},"
    learned = figures.objective.sentence() if figures.objective else ""
    return StageResult(
        stage=Stage.TRAIN,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=f"Trained {_steps(config, figures)} on {total.kept:,} rows; validation{score} loss"
        f" {figures.validation_loss:.4f}{chosen}{rejected}.{' ' if learned else ''}{learned}",
        rows=rows.total(),
        splits=rows.splits(),
        training=figures,
        files=_files(config, folder, rows),
    )


def _steps(config: RunConfig, figures: TrainingFigures) -> str:
    if figures.planned_steps is None:
        return f"{figures.steps:,} {'step' if figures.steps == 1 else 'steps'}"
    over = f"training.maxDuration ({config.training.max_duration}) was over"
    return f"{figures.steps:,} of {figures.planned_steps:,} steps, when {over},"
