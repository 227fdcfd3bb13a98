"""The run of one stage in MLflow, nested in that of its Distillation; in it a run for each trial of a search.

Their ids are kept in the workspace, so that a stage that was killed goes on with its run, and a later stage joins the
same Distillation's. All methods call the server and raise what its library raises.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillery_api.formatting import shortened
from distillery_api.run_config import RunConfig
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.tracking.mlflow_registry import FOLDER_TAG, register
from distillery_trainer.tracking.result_figures import headline, metrics_of, parameters_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PARENT_TAG = "mlflow.parentRunId"
_MOST_IN_A_BATCH = 500
_LONGEST_VALUE = 500
_LONGEST_NOTE = 5000
_KILLED_CODES_FROM = 128


class MLflowRun:
    """The run of one stage, or of a trial of a search in that of its stage, which is found or made when it is first
    needed."""

    def __init__(self, config: RunConfig, stage: MLflowRun | None = None) -> None:
        self._config = config
        self._stage = stage
        """The run of the stage that a trial belongs to."""
        self._open: OpenRun | None = None
        self._pending: list[Any] = []
        """Figures that the server has not taken yet, oldest first."""
        self._trial: MLflowRun | None = None
        """The run of the trial that is under way."""
        self._ended_trials: list[tuple[MLflowRun, StageResult]] = []
        """Trials of whose end the server does not know yet."""

    def open(self) -> OpenRun:
        """The run on the server."""
        if self._open is None:
            self._open = _opened_trial(self._config, self._stage.open()) if self._stage else _opened(self._config)
        return self._open

    def figures(self, step: int, figures: Mapping[str, float], milliseconds: int) -> None:
        """Report what was measured after a step of the training, and what could not be reported before."""
        from mlflow.entities import Metric

        if self._trial is not None:
            self._trial.figures(step, figures, milliseconds)
            return
        self._pending += [Metric(name, value, milliseconds, step) for name, value in figures.items()]
        self._send()

    def begin_trial(self, config: RunConfig) -> None:
        """Begin the run of a trial, which has the figures that follow."""
        self._trial = MLflowRun(config, stage=self)
        self._trial.open()

    def end_trial(self, result: StageResult) -> None:
        """Report the result of the trial under way, and end its run."""
        if self._trial is not None:
            self._ended_trials.append((self._trial, result))
            self._trial = None
        while self._ended_trials:
            trial, its_result = self._ended_trials[0]
            trial.finish(its_result)
            del self._ended_trials[0]

    def finish(self, result: StageResult) -> None:
        """Report the result, and end the run, and that of a trial in the midst of which the stage ended."""
        self.end_trial(result)
        self._send().finish(result)

    def _send(self) -> OpenRun:
        run = self.open()
        run.send(self._pending)
        self._pending = []
        return run


@dataclass(frozen=True)
class OpenRun:
    """A run that the server has."""

    client: MlflowClient
    config: RunConfig
    experiment: str
    """Id of the experiment."""
    run: str
    """Id of the run."""
    distillation: str | None
    """Id of the run of the Distillation, which ends with that of a stage; None of a trial."""
    last_steps: Mapping[str, int]
    """The last step of each figure that an earlier attempt has reported."""

    def send(self, figures: Sequence[Any]) -> None:
        """Report figures, but for steps that an earlier attempt has reported."""
        new = [metric for metric in figures if metric.step > self.last_steps.get(metric.key, -1)]
        for start in range(0, len(new), _MOST_IN_A_BATCH):
            self.client.log_batch(self.run, metrics=new[start : start + _MOST_IN_A_BATCH])

    def finish(self, result: StageResult) -> None:
        """Report the result, and end the run; after a stage that of the Distillation too, until a later stage
        begins."""
        self._log(self.run, metrics_of(result), parameters_of(self.config, result))
        self.client.set_tag(self.run, "mlflow.note.content", shortened(result.message, _LONGEST_NOTE))
        if self.distillation is not None:
            self._log(self.distillation, headline(result), {})
            if result.state is StageOutcome.DONE:
                register(self.client, self.config, self.run, result)
            self.client.set_terminated(self.distillation, _status(result))
        self.client.set_terminated(self.run, _status(result))

    def _log(self, run: str, metrics: Mapping[str, float], parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, Param

        now, known = int(time.time() * 1000), self.client.get_run(run).data.params
        self.client.log_batch(
            run,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            # A parameter cannot be changed.
            params=[Param(name, value[:_LONGEST_VALUE]) for name, value in parameters.items() if name not in known],
        )


def _opened(config: RunConfig) -> OpenRun:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = _experiment(client, config)
    of_all = {"distillery.task": str(config.task)}
    distillation = _found_or_made(client, config.paths.mlflow_run(config.name), experiment, config.name, of_all)
    run = _nested(client, config, experiment, distillation)
    for each in (distillation, run):
        client.update_run(each, status="RUNNING")
    return OpenRun(client, config, experiment, run, distillation, _last_steps(client, run))


def _opened_trial(config: RunConfig, stage: OpenRun) -> OpenRun:
    client = stage.client
    run = _nested(client, config, stage.experiment, stage.run)
    client.update_run(run, status="RUNNING")
    return OpenRun(client, config, stage.experiment, run, None, _last_steps(client, run))


def _nested(client: MlflowClient, config: RunConfig, experiment: str, parent: str) -> str:
    """The id of the run of a folder, in another one."""
    tags = {_PARENT_TAG: parent, FOLDER_TAG: config.folder, "distillery.stage": str(config.stage)}
    return _found_or_made(client, config.stage_folder.mlflow_run, experiment, config.folder, tags)


def _experiment(client: MlflowClient, config: RunConfig) -> str:
    """The id of the experiment, which is made where there is none."""
    from mlflow.exceptions import MlflowException

    name = (config.tracking.experiment if config.tracking else None) or config.name
    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another one was quicker
        if found is None:
            raise
        return str(found.experiment_id)


def _found_or_made(client: MlflowClient, note: Path, experiment: str, name: str, tags: Mapping[str, str]) -> str:
    """The id of the run that is noted in a file; of a new one where there is none, or where the server does not have
    it."""
    from mlflow.exceptions import MlflowException

    noted = note.read_text().strip() if note.exists() else ""
    if noted:
        try:
            if client.get_run(noted).info.lifecycle_stage == "active":
                return noted
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
    run: str = client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id
    write_atomically(note, run.encode())
    return run


def _last_steps(client: MlflowClient, run: str) -> dict[str, int]:
    names = client.get_run(run).data.metrics
    histories = {name: client.get_metric_history(run, name) for name in names}
    return {name: max(each.step for each in history) for name, history in histories.items() if history}


def _status(result: StageResult) -> str:
    if result.state is StageOutcome.DONE:
        return "FINISHED"
    return "KILLED" if result.exit_code >= _KILLED_CODES_FROM else "FAILED"
