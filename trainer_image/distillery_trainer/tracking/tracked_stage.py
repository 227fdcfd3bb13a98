"""A stage as MLflow is told of it: that it begins, the figures of its training, and its result."""

from __future__ import annotations

import atexit
import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from distillery_api.run_config import RunConfig
from distillery_api.spec import Tracker
from distillery_api.stage_result import StageResult
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter, TrainingObserver
from distillery_trainer.tracking.background_reports import BackgroundReports
from distillery_trainer.tracking.mlflow_run import MLflowRun
from distillery_trainer.tracking.requirements import check_tracking, set_environment


@dataclass(frozen=True)
class TrackedStage(TrainingObserver):
    """Reports a stage in the background; without a run in MLflow, nothing."""

    run: MLflowRun | None = None
    reports: BackgroundReports | None = None

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Report what was measured after a step of the training."""
        if self.run is not None and self.reports is not None:
            run, now = self.run, int(time.time() * 1000)
            self.reports.submit(lambda: run.figures(step, figures, now))

    def trial_begins(self, trial: RunConfig) -> None:
        """Report the figures that follow as those of a trial."""
        if self.run is not None and self.reports is not None:
            run = self.run
            self.reports.submit(lambda: run.begin_trial(trial))

    def trial_ended(self, result: StageResult) -> None:
        """Report the result of the trial."""
        if self.run is not None and self.reports is not None:
            run = self.run
            self.reports.submit(lambda: run.end_trial(result))

    def finished(self, result: StageResult) -> StageResult:
        """The result, which is reported. Only the end of the process waits for that, and not for long: by then the
        result is written down."""
        if self.run is not None and self.reports is not None:
            run = self.run
            self.reports.submit(lambda: run.finish(result))
            atexit.register(self.reports.close)
        return result


@contextlib.contextmanager
def tracked(config: RunConfig, progress: ProgressReporter, *, is_wanted: bool = True) -> Iterator[TrackedStage]:
    """The stage inside the block, with the figures that it says to `progress`; nothing of it where it is not wanted, as
    in all processes of a training but the first."""
    if config.tracking is None or not is_wanted:
        yield TrackedStage()
        return
    set_environment()
    if Tracker.MLFLOW not in config.tracking.report_to or not _can_be_tracked(config):
        yield TrackedStage()
        return
    run, reports = MLflowRun(config), BackgroundReports(Tracker.MLFLOW)
    stage = TrackedStage(run, reports)
    progress.observer = stage
    reports.submit(run.open)
    yield stage


def _can_be_tracked(config: RunConfig) -> bool:
    """Whether nothing is missing; the stages that are not repeated say what is."""
    try:
        check_tracking(config)
    except UserError:
        return False
    return True
