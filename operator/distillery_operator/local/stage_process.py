"""One stage as a process of this machine, started as a Job's container starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from distillery_api.paths import StageFolder
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.stage import FAILURE_REASONS, ExitCode, Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_api.usage import Estimate
from distillery_operator.core.stage_metrics import StageMetrics
from distillery_operator.local.run_result import read_stage_result, write_atomically
from distillery_operator.local.stage_metrics import EtaEstimator, read_estimate, read_metrics
from distillery_operator.local.stop_request import StopRequest
from distillery_operator.local.trainer import trainer_command

POLL_SECONDS = 0.5
LOG_TAIL_BYTES = 4096


class StageListener(Protocol):
    """Who wants to know how a stage goes."""

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """A stage has said how far it is."""

    def estimated(self, stage: Stage, estimate: Estimate) -> None:
        """A stage has said what its teacher calls will come to."""

    def stopping(self, stage: Stage) -> None:
        """A stage was asked to stop, and finishes what it has in hand."""


@dataclass(frozen=True)
class StageProcess:
    """What is needed to start a stage: its configuration, its variables, and a file that it keeps open.

    The open file carries the workspace's lock, so that a stage whose parent was killed still keeps others out.
    """

    config: RunConfig
    variables: Mapping[str, str]
    lock: int

    @property
    def folder(self) -> StageFolder:
        """The stage's folder."""
        return self.config.stage_folder

    @property
    def log(self) -> Path:
        """Everything that the stage printed, over all attempts."""
        return self.folder.log

    def run(self, stop: StopRequest, listener: StageListener) -> StageResult:
        """Runs the stage to its end, telling the listener how far it is. Raises OSError."""
        self._prepare()
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                trainer_command(self.config.stage, self._config_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.variables},
                pass_fds=(self.lock,),
                # Ctrl-C reaches every process of the terminal's group; the stage hears of it from us, once.
                start_new_session=True,
            )
        self._watch(process, stop, listener)
        return self._result(process.returncode)

    @property
    def _config_file(self) -> Path:
        return self.folder.config

    def _prepare(self) -> None:
        """Writes the configuration and removes what an earlier attempt reported."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        for stale in (self.folder.result, self.folder.metrics_port):
            stale.unlink(missing_ok=True)
        write_atomically(self._config_file, self.config.model_dump_json(by_alias=True, exclude_none=True, indent=2))

    def _watch(self, process: subprocess.Popen[bytes], stop: StopRequest, listener: StageListener) -> None:
        pace, passed_on, untold = EtaEstimator(), 0, self.config.stage is Stage.GENERATE
        while not _ended(process):
            if stop.requests > passed_on:
                if not passed_on:
                    listener.stopping(self.config.stage)
                _pass_on(process, first=not passed_on)
                passed_on = stop.requests
            metrics = read_metrics(self.folder)
            if metrics is not None:
                listener.progressed(self.config.stage, _with_estimate(metrics, pace))
                untold = untold and not self._tell_estimate(listener)

    def _tell_estimate(self, listener: StageListener) -> bool:
        """Passes the stage's estimate on; whether there is one yet."""
        estimate = read_estimate(self.folder)
        if estimate is not None:
            listener.estimated(self.config.stage, estimate)
        return estimate is not None

    def _result(self, exit_code: int) -> StageResult:
        """What the stage reported, or what became of it where it could not."""
        reported = read_stage_result(self.folder.result)
        if reported is not None:
            return reported
        reason, message = self._crash(exit_code)
        return StageResult(
            stage=self.config.stage,
            folder=self.config.folder,
            state=StageOutcome.FAILED,
            exit_code=128 - exit_code if exit_code < 0 else exit_code,
            reason=reason,
            message=message,
            completion_time=datetime.now(UTC),
        )

    def _crash(self, exit_code: int) -> tuple[Reason, str]:
        if exit_code in (-signal.SIGTERM, ExitCode.TERMINATED):
            return Reason.TERMINATED, f"{self.config.stage} was stopped before it could say anything"
        if exit_code == -signal.SIGKILL:
            return Reason.OUT_OF_MEMORY, (
                f"{self.config.stage} was killed, most likely because this machine ran out of memory; give it more, or"
                " take a smaller model, training.batchSize or training.maxLength"
            )
        last = _last_line(self.log)
        said = f": {last}" if last else ""
        return FAILURE_REASONS[
            self.config.stage
        ], f"{self.config.stage} ended unexpectedly{said}; {self.log} has the rest"


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _pass_on(process: subprocess.Popen[bytes], *, first: bool) -> None:
    """SIGTERM lets the stage finish the write in hand; a user who asks again does not want to wait."""
    if first:
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def _with_estimate(metrics: StageMetrics, pace: EtaEstimator) -> StageMetrics:
    return StageMetrics(pace.estimate(time.monotonic(), metrics.progress), metrics.requests, metrics.rejected)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
