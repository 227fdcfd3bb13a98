"""A search: several students of the same rows, of which the best on the validation rows becomes the student.

Each trial has a folder of its own in that of the stage, and leaves a record there once it is over, so that a killed
stage trains no student twice: the unfinished one resumes from its last checkpoint. Only the best checkpoint so far is
kept, and only that of the student is saved as a model.
"""

from __future__ import annotations

import gc
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import NoReturn

from distillery_api.base import LenientModel
from distillery_api.paths import StageFolder
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.search_figures import SearchFigures, Trial, TrialFailure
from distillery_api.spec import Combination
from distillery_api.spec.durations import parse_duration
from distillery_api.stage import ExitCode, Stage
from distillery_api.stage_result import StageOutcome, StageResult, TrainingFigures
from distillery_trainer.processes.process_group import ProcessLost, this_group
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages.encoded_rows import EncodedRows
from distillery_trainer.stages.student_training import keep_student, train_student
from distillery_trainer.student.checkpoints import last_checkpoint
from distillery_trainer.student.chosen_settings import chosen_batch_size, chosen_settings
from distillery_trainer.student.loss_watch import TrainingFailed
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.search_trials import (
    best_first,
    chosen_combinations,
    planned_steps,
    trial_name,
    trial_training,
)

_WORDS = {TrialFailure.DIVERGED: "diverged", TrialFailure.OUT_OF_MEMORY: "ran out of memory"}


class TrialRecord(LenientModel):
    """How a trial ended."""

    figures: TrainingFigures | None = None
    """None of one that failed."""
    checkpoint: str = ""
    """Name of its best checkpoint."""
    failure: TrialFailure | None = None
    seconds: float = 0.0
    """How long one that failed took."""

    @property
    def duration(self) -> timedelta:
        """How long the trial took."""
        return timedelta(seconds=self.figures.seconds if self.figures else self.seconds)

    def outcome(self) -> str:
        """For people."""
        if self.figures is None:
            return _WORDS[self.failure or TrialFailure.DIVERGED]
        figures, score = self.figures, self.figures.validation_score
        measured = "" if score is None else f"score {score:.3f}, "
        cut = f", cut short after {figures.steps:,} of {figures.planned_steps:,} steps" if figures.planned_steps else ""
        return f"validation {measured}loss {figures.validation_loss:.4f}, {figures.seconds:,.0f} s{cut}"


@dataclass
class TrialProgress:
    """The progress of one trial as a part of that of all trials."""

    progress: ProgressReporter
    before: int
    """Steps of the trials before it."""
    total: int
    """Steps of all trials."""

    def alive(self) -> None:
        """Something was done, although no further step is."""
        self.progress.alive()

    def update(self, done: int, total: int, unit: str = "steps") -> None:
        """So many steps of this trial are done."""
        self.progress.update(self.before + done, self.total, unit)

    def training_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """What was measured after a step of this trial."""
        self.progress.training_figures(step, figures)


def search_student(
    config: RunConfig, base: ModelFolder, rows: EncodedRows, progress: ProgressReporter
) -> TrainingFigures:
    """Train the trials, and save the best student in the stage's folder. Raises StageError."""
    search = Search(config, base, rows, progress)
    search.announce()
    return search.student()


@dataclass
class Search:
    """Trains the trials, and keeps the best student."""

    config: RunConfig
    """Of the train stage."""
    base: ModelFolder
    rows: EncodedRows
    progress: ProgressReporter

    def student(self) -> TrainingFigures:
        """The figures of the student, which is saved in the stage's folder, and of all trials. Raises StageError and
        ProcessLost."""
        group, records = this_group(), dict[Combination, TrialRecord]()
        for combination in self._combinations:
            finished = group.first_decides(partial(self._read, combination))
            left = self._time_left(records)
            if finished is None and left is not None and left <= timedelta() and _trained(records):
                _say(f"training.maxDuration ({self._limit}) is over: the other trials are left out.")
                break
            records[combination] = finished or self._train(combination, left)
            if group.is_first:
                self._drop_worse_checkpoints(records)
        ranked = best_first(_trained(records))
        if not ranked:
            raise self._nothing_trained(records)
        best = ranked[0]
        if not group.first_decides(partial(self._is_kept, best, records[best])):
            return self.student()  # its checkpoint is lost, so it is trained again
        search = self._figures([*ranked, *(each for each in records if each not in ranked)], records)
        return _trained(records)[best].model_copy(update={"search": search})

    def announce(self) -> None:
        """Say what is tried."""
        search, number = self.config.training.search, len(self._combinations)
        some = f" of {search.combinations} combinations" if search and number < search.combinations else ""
        within = f" within training.maxDuration ({self._limit})" if self._limit else ""
        _say(f"Search: {number} students are trained{some}{within}, and the best goes on.")

    @property
    def _limit(self) -> str | None:
        return self.config.training.max_duration

    def _time_left(self, records: Mapping[Combination, TrialRecord]) -> timedelta | None:
        """What earlier trials have left of the time for all of them; None without a limit."""
        if self._limit is None:
            return None
        return parse_duration(self._limit) - sum((each.duration for each in records.values()), timedelta())

    @cached_property
    def _combinations(self) -> list[Combination]:
        return chosen_combinations(self.config.training)

    # --- one trial

    def _train(self, combination: Combination, time_left: timedelta | None) -> TrialRecord:
        """Train one student in the time that is left, and write down how it ended."""
        number, began = self._combinations.index(combination), time.monotonic()
        config = self._config(combination, time_left)
        steps = self._steps
        progress = TrialProgress(self.progress, sum(steps[:number]), sum(steps))
        gc.collect()  # the model before is no longer needed
        self.progress.observer.trial_begins(config)
        try:
            trained = train_student(config, self.base, self.rows, progress)
        except UserError as error:
            failure = _failure(error)
            if failure is None:
                raise
            _say(error.message)
            record = TrialRecord(failure=failure, seconds=time.monotonic() - began)
            if failure is TrialFailure.OUT_OF_MEMORY and not this_group().is_alone:
                self._end_together(combination, record, error)
        else:
            record = TrialRecord(figures=trained.figures, checkpoint=trained.checkpoint.name)
        record = this_group().first_decides(partial(self._written, combination, record))
        self.progress.observer.trial_ended(self._result(combination, record))
        _say(f"Trial {number + 1} of {len(steps)}: {Trial(**combination._asdict()).values()}: {record.outcome()}.")
        return record

    def _result(self, combination: Combination, record: TrialRecord) -> StageResult:
        """As if the trial were a stage."""
        return StageResult(
            stage=Stage.TRAIN,
            folder=self._config(combination).folder,
            state=StageOutcome.FAILED if record.failure else StageOutcome.DONE,
            exit_code=ExitCode.USER_ERROR if record.failure else ExitCode.DONE,
            message=record.outcome(),
            training=record.figures,
        )

    def _written(self, combination: Combination, record: TrialRecord) -> TrialRecord:
        write_atomically(self._record(combination), record.model_dump_json(by_alias=True).encode())
        return record

    def _end_together(self, combination: Combination, record: TrialRecord, error: UserError) -> NoReturn:
        """Other processes may still wait for this one in the middle of a step, so all have to end: for an attempt with
        smaller parts, and where there are none, to start again with the next trial."""
        if self.config.micro_batches < chosen_batch_size(self.config.training, len(self.rows.train)):
            raise error
        self._written(combination, record)
        raise ProcessLost(error.message) from error

    def _drop_worse_checkpoints(self, records: dict[Combination, TrialRecord]) -> None:
        best = best_first(_trained(records))[:1]
        for each in records:
            if each not in best:
                shutil.rmtree(self._folder(each).checkpoints, ignore_errors=True)

    @cached_property
    def _steps(self) -> list[int]:
        """Of each trial."""
        rows = len(self.rows.train)
        # The number of epochs does not depend on the size of the model.
        epochs = [chosen_settings(self._config(each).training, rows, 0).epochs for each in self._combinations]
        return planned_steps(epochs, rows, chosen_batch_size(self.config.training, rows))

    def _config(self, combination: Combination, time_left: timedelta | None = None) -> RunConfig:
        training = trial_training(self.config.training, combination)
        if time_left is not None:
            seconds = max(1, math.ceil(time_left.total_seconds()))
            training = training.model_copy(update={"max_duration": f"{seconds}s"})
        return self.config.model_copy(
            update={
                "folder": f"{self.config.stage_folder.search}/{trial_name(combination)}",
                "training": training,
                "base_folder": None,
            }
        )

    def _folder(self, combination: Combination) -> StageFolder:
        return self._config(combination).stage_folder

    def _record(self, combination: Combination) -> Path:
        return self._folder(combination).path / "trial.json"

    def _read(self, combination: Combination) -> TrialRecord | None:
        """How a trial ended; None where it has not, or where that cannot be read."""
        try:
            record = TrialRecord.model_validate_json(self._record(combination).read_bytes())
        except (OSError, ValueError):
            return None
        return record if record.figures or record.failure else None

    # --- the end

    def _is_kept(self, best: Combination, record: TrialRecord) -> bool:
        """Save the best student in the stage's folder, unless an attempt before did. False where its checkpoint is
        lost, and then its record as well."""
        checkpoints = self._folder(best).checkpoints
        if last_checkpoint(checkpoints) is None or not (checkpoints / record.checkpoint).exists():
            if not self.config.stage_folder.model.exists():
                self._record(best).unlink()
                return False
            return True
        keep_student(self.config, self.base, self.rows, checkpoints / record.checkpoint)
        if (log := self._folder(best).training_log).exists():
            shutil.copyfile(log, self.config.stage_folder.training_log)
        shutil.rmtree(checkpoints)
        return True

    def _figures(self, order: Sequence[Combination], records: dict[Combination, TrialRecord]) -> SearchFigures:
        trials = tuple(_trial(each, records[each]) for each in order)
        search = self.config.training.search
        return SearchFigures(
            combinations=search.combinations if search else 1,
            trained=sum(trial.failure is None for trial in trials),
            failed=sum(trial.failure is not None for trial in trials),
            left_out=len(self._combinations) - len(records),
            seconds=round(sum(trial.seconds or 0.0 for trial in trials), 1),
            trials=trials,
        )

    def _nothing_trained(self, records: dict[Combination, TrialRecord]) -> UserError:
        """The error of a search without a student. What ran out of memory is tried again by the next attempt, which may
        have more."""
        counts = Counter(record.failure for record in records.values() if record.failure)
        for combination, record in records.items():
            if record.failure is TrialFailure.OUT_OF_MEMORY:
                self._record(combination).unlink(missing_ok=True)
        how = " and ".join(f"{count} {_WORDS[failure]}" for failure, count in counts.items())
        remedies = {
            TrialFailure.DIVERGED: "list lower training.search.learningRates, or raise training.warmupSteps",
            TrialFailure.OUT_OF_MEMORY: "lower training.maxLength, choose a smaller student, or use a device with more"
            " memory",
        }
        remedy = "; ".join(remedies[failure] for failure in counts)
        only_memory = set(counts) == {TrialFailure.OUT_OF_MEMORY}
        return UserError(
            f"No trial of training.search made a student: of {len(records)}, {how}. {remedy[0].upper()}{remedy[1:]}.",
            reason=Reason.OUT_OF_MEMORY if only_memory else Reason.TRAINING_FAILED,
            partial_result=self.rows.partial_result(),
        )


def _say(line: str) -> None:
    """In the log, once for all processes."""
    if this_group().is_first:
        sys.stderr.write(f"{line}\n")


def _trained(records: Mapping[Combination, TrialRecord]) -> dict[Combination, TrainingFigures]:
    return {each: record.figures for each, record in records.items() if record.figures is not None}


def _failure(error: UserError) -> TrialFailure | None:
    """Why a trial failed; None where that has nothing to do with its settings."""
    if isinstance(error.__cause__, TrainingFailed):
        return TrialFailure.DIVERGED
    return TrialFailure.OUT_OF_MEMORY if error.reason is Reason.OUT_OF_MEMORY else None


def _trial(combination: Combination, record: TrialRecord) -> Trial:
    values = combination._asdict()
    if record.figures is None:
        return Trial(**values, failure=record.failure)
    figures, score = record.figures, record.figures.validation_score
    return Trial(
        **values,
        score=None if score is None else round(score, 4),
        loss=round(figures.validation_loss, 4),
        seconds=figures.seconds,
        is_over_time=True if figures.planned_steps else None,
    )
