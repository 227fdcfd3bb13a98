"""A training as TensorBoard, Weights & Biases and trackio are told of it: by the callbacks of transformers, each in a
thread of its own, so that none of them can slow, stop or fail the training."""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distillery_api.paths import StageFolder
from distillery_api.run_config import RunConfig
from distillery_api.spec import Tracker
from distillery_api.stage import Stage
from distillery_trainer.tracking.background_reports import BackgroundReports

MakeCallback = Callable[[TrainerState], TrainerCallback]
"""Makes the callback of a library, once the training begins; it may take seconds to load."""


def tracker_callbacks(config: RunConfig) -> tuple[TrainerCallback, ...]:
    """The callbacks for the trackers of a manifest but MLflow. The trainings of an evaluation are not reported."""
    if config.tracking is None or config.stage is not Stage.TRAIN:
        return ()
    makers: dict[Tracker, MakeCallback] = {
        Tracker.TENSOR_BOARD: lambda state: _tensorboard(config, state),
        Tracker.WANDB: lambda _: _wandb(config),
        Tracker.TRACKIO: lambda _: _trackio(config),
    }
    chosen = [each for each in makers if each in config.tracking.report_to]
    return tuple(BackgroundCallback(each, makers[each], config) for each in chosen)


@contextlib.contextmanager
def reported(callbacks: Sequence[TrainerCallback]) -> Iterator[None]:
    """The training inside the block; however it ends, its runs are ended, so that the next training has its own."""
    try:
        yield
    finally:
        for callback in callbacks:
            if isinstance(callback, BackgroundCallback):
                callback.close()


class BackgroundCallback(TrainerCallback):  # type: ignore[misc]
    """Hands the beginning, the figures and the end of a training to the callback of a library, in the background."""

    def __init__(self, tracker: str, make: MakeCallback, config: RunConfig) -> None:
        super().__init__()
        self._tracker, self._make = tracker, make
        self._names = {"run_name": config.folder, "project": experiment(config)}
        self._reports: BackgroundReports | None = None
        self._callback: TrainerCallback | None = None
        self._said: tuple[TrainingArguments, TrainerState, TrainerControl] | None = None
        """What the trainer has said last."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Begin the run, or go on with it."""
        if not state.is_world_process_zero:
            return
        self.close()
        self._reports, self._callback = BackgroundReports(self._tracker), None
        args, state = self._named(args), copy.copy(state)
        self._said = args, state, control
        model = rest.get("model")

        def begin() -> None:
            self._callback = self._make(state)
            self._callback.on_train_begin(args, state, control, model=model)

        self._reports.submit(begin)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float],
        **rest: Any,
    ) -> None:
        """Report figures."""
        if self._reports is None:
            return
        args, state = self._named(args), copy.copy(state)
        self._said = args, state, control
        logs, model = dict(logs), rest.get("model")
        self._reports.submit(
            lambda: self._callback and self._callback.on_log(args, state, control, logs=logs, model=model)
        )

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End the run."""
        self.close()

    def close(self) -> None:
        """End the run, if one was begun, and wait until all is reported, but not for long."""
        if self._reports is not None:
            said = self._said
            self._reports.submit(lambda: self._callback and said and self._callback.on_train_end(*said))
            self._reports.close()
            self._reports = None

    def _named(self, args: TrainingArguments) -> TrainingArguments:
        """The settings with our names of run and project; the libraries show them."""
        named = copy.copy(args)
        for name, value in self._names.items():
            setattr(named, name, value)
        return named


def experiment(config: RunConfig) -> str:
    """The project of the trackers."""
    return (config.tracking.experiment if config.tracking else None) or config.name


def run_id(config: RunConfig) -> str:
    """The same in every attempt, so that an interrupted run is gone on with, and another one for each trial."""
    return re.sub(r"[^-\w]", "-", f"{config.name}-{config.folder}")


def _stage_folder(config: RunConfig) -> StageFolder:
    """That of the train stage, also for a trial of a search, whose own folder lies in it."""
    return config.paths.stage(PurePosixPath(config.folder).parts[0])


def _tensorboard(config: RunConfig, state: TrainerState) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    # Whoever opens the stage's folder sees all trials of a search.
    folder = _stage_folder(config).tensorboard.joinpath(*PurePosixPath(config.folder).parts[2:])
    # What was written of steps that are trained again is not shown.
    purged = state.global_step + 1 if state.global_step else None
    return TensorBoardCallback(SummaryWriter(str(folder), purge_step=purged))


def _wandb(config: RunConfig) -> TrainerCallback:
    import wandb
    from transformers.integrations import WandbCallback

    class WandbRun(WandbCallback):  # type: ignore[misc]
        """A training as one run: the library's callback goes on with whichever run is there, and ends none."""

        def on_train_end(self, *args: Any, **rest: Any) -> None:
            super().on_train_end(*args, **rest)
            wandb.finish()

    if wandb.run is not None:  # of a training that has not said its end in time
        wandb.finish()
    wandb.init(
        project=os.environ.get("WANDB_PROJECT", experiment(config)),
        id=run_id(config),
        resume="allow",
        name=config.folder,
        group=os.environ.get("WANDB_RUN_GROUP", config.name),
        job_type=os.environ.get("WANDB_JOB_TYPE", str(config.stage)),
        dir=os.environ.get("WANDB_DIR", str(_stage_folder(config).path)),
    )
    return WandbRun()


def _trackio(config: RunConfig) -> TrainerCallback:
    # The library reads it once.
    os.environ.setdefault("TRACKIO_DIR", str(_stage_folder(config).trackio))
    from transformers.integrations import TrackioCallback

    return TrackioCallback()
