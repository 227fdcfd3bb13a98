"""One stage as a process on this machine, started in the same way as in a Job's container."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from distillery_api.paths import StageFolder
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import make_folder, write_atomically
from distillery_api.runtime.stop_signals import StopRequest
from distillery_api.stage import FAILURE_REASONS, ExitCode, Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_api.usage import Estimate
from distillery_operator.core.stage_metrics import StageMetrics
from distillery_operator.local.run_result import read_stage_result
from distillery_operator.local.stage_metrics import EtaEstimator, read_estimate, read_metrics
from distillery_operator.local.trainer import trainer_command

POLL_SECONDS = 0.5
LOG_TAIL_BYTES = 4096


class StageListener(Protocol):
    """Receives the progress of a stage."""

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """A stage reported its metrics."""

    def estimated(self, stage: Stage, estimate: Estimate) -> None:
        """A stage reported the estimate of its requests."""

    def stopping(self, stage: Stage) -> None:
        """A stage was asked to stop, and saves its work first."""


@dataclass(frozen=True)
class StageProcess:
    """What is needed to start a stage: its configuration, its environment variables, and a file that it keeps open.

    The open file holds the workspace's lock, so that a stage whose parent was killed still locks the workspace; None
    for a stage that reads what is finished.
    """

    config: RunConfig
    variables: Mapping[str, str]
    lock: int | None

    @property
    def folder(self) -> StageFolder:
        """The stage's folder."""
        return self.config.stage_folder

    @property
    def log(self) -> Path:
        """Everything that the stage printed, over all attempts."""
        return self.folder.log

    def run(self, stop: StopRequest, listener: StageListener) -> StageResult:
        """Run the stage to its end and report progress to the listener. Raises OSError."""
        self._prepare()
        with self._open_log() as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                trainer_command(self.config.stage, self._config_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.variables},
                pass_fds=() if self.lock is None else (self.lock,),
                # Ctrl-C reaches all processes of the terminal's group; in its own session, the stage gets one signal
                # from us.
                start_new_session=True,
            )
        self._watch(process, stop, listener)
        return self._result(process.returncode)

    def _open_log(self) -> BinaryIO:
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    @property
    def _config_file(self) -> Path:
        return self.folder.config

    def _prepare(self) -> None:
        """Write the configuration and remove what an earlier attempt reported."""
        make_folder(self.folder.path, private=True)
        for stale in (self.folder.result, self.folder.metrics_port):
            stale.unlink(missing_ok=True)
        config = self.config.model_dump_json(by_alias=True, exclude_none=True, indent=2)
        write_atomically(self._config_file, config.encode(), 0o600)

    def _watch(self, process: subprocess.Popen[bytes], stop: StopRequest, listener: StageListener) -> None:
        eta, forwarded, needs_estimate = EtaEstimator(), 0, self.config.stage is Stage.GENERATE
        while not _ended(process):
            if stop.requests > forwarded:
                if not forwarded:
                    listener.stopping(self.config.stage)
                _forward_stop(process, first=not forwarded)
                forwarded = stop.requests
            metrics = read_metrics(self.folder)
            if metrics is not None:
                listener.progressed(self.config.stage, _with_time_left(metrics, eta))
                needs_estimate = needs_estimate and not self._report_estimate(listener)

    def _report_estimate(self, listener: StageListener) -> bool:
        """Report the stage's estimate to the listener. Returns whether there is one yet."""
        estimate = read_estimate(self.folder)
        if estimate is not None:
            listener.estimated(self.config.stage, estimate)
        return estimate is not None

    def _result(self, exit_code: int) -> StageResult:
        """The result that the stage wrote or, if it crashed before that, one made from its exit code and log."""
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
            return Reason.TERMINATED, f"{self.config.stage} was stopped before it wrote a result"
        if exit_code == -signal.SIGKILL:
            return Reason.OUT_OF_MEMORY, (
                f"{self.config.stage} was killed, most likely because this machine ran out of memory; free or add"
                " memory, or use a smaller model, training.batchSize or training.maxLength"
            )
        last = last_line(self.log)
        if exit_code == ExitCode.TRY_LATER and last:
            return Reason.WORKSPACE_IN_USE, last  # The folder, and so the result in it, are another stage's.
        detail = f": {last}" if last else ""
        reason = FAILURE_REASONS[self.config.stage]
        return reason, f"{self.config.stage} ended unexpectedly{detail}; for details, see {self.log}"


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _forward_stop(process: subprocess.Popen[bytes], *, first: bool) -> None:
    """The first request sends SIGTERM, so that the stage can save its work; a further one sends SIGKILL."""
    if first:
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def _with_time_left(metrics: StageMetrics, eta: EtaEstimator) -> StageMetrics:
    return StageMetrics(eta.estimate(time.monotonic(), metrics.progress), metrics.requests, metrics.rejected)


def last_line(log: Path) -> str:
    """The last line with text in a log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
