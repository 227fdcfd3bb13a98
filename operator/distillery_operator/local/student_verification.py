"""Verifies a student that is served on this machine: the verify stage, as a cluster runs it after a rollout."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from distillery_api.paths import Artefact, Workspace
from distillery_api.run_config import RunConfig
from distillery_api.runtime.stop_signals import StopRequest
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome
from distillery_api.usage import Estimate
from distillery_operator.core.stage_metrics import StageMetrics
from distillery_operator.local.folder_access import OutsideFolder, path_inside, read_bounded
from distillery_operator.local.run_result import RunResult, verification_folder
from distillery_operator.local.stage_process import StageProcess
from distillery_operator.local.student_server import ServingError, StudentServer

CONFIG_LIMIT = 1024 * 1024
"""Bytes."""
NOT_EVALUATED = "Not verified: this folder holds no evaluation to compare the server's replies with."


def verify_student(server: StudentServer, result: RunResult, stop: StopRequest) -> str:
    """Ask the running server rows of the run's evaluation, and say how it answered; empty if stopped meanwhile.

    Raises ServingError where it answers otherwise than in the evaluation.
    """
    try:
        config = verification_config(server, result)
    except OutsideFolder as error:
        raise ServingError(str(error)) from None
    if config is None:
        return NOT_EVALUATED
    outcome = StageProcess(config, {}, lock=None).run(stop, _Silence())
    if stop.requested:
        return ""
    if outcome.state is StageOutcome.FAILED:
        raise ServingError(outcome.message)
    return outcome.message


def verification_config(server: StudentServer, result: RunResult) -> RunConfig | None:
    """The configuration of verify: that of the run's evaluate stage, on the local server. None without an evaluation.

    Raises OutsideFolder, or ServingError if it cannot be read.
    """
    rows, predictions = result.files.get(Artefact.TEST), result.files.get(Artefact.PREDICTIONS)
    if rows is None or predictions is None:
        return None
    inside = Workspace(server.folder.resolve())
    generate, evaluate = (inside.stage(str(PurePosixPath(path).parent)) for path in (rows, predictions))
    verify = inside.stage(verification_folder(evaluate.path.name))
    for path in (generate.test, evaluate.predictions, evaluate.config, verify.log):  # the last is written to
        path_inside(server.folder, str(path))
    if not (generate.test.is_file() and evaluate.predictions.is_file()):
        return None
    return _evaluate_config(evaluate.config).model_copy(
        update={
            "stage": Stage.VERIFY,
            "name": server.name,
            "folder": inside.relative(verify.path),
            "inputs": {
                Stage.GENERATE: inside.relative(generate.path),
                Stage.EVALUATE: inside.relative(evaluate.path),
            },
            "workspace": str(inside.root),
            "server_url": f"{server.url}/v1",
            "metrics_host": "127.0.0.1",
            "metrics_port": 0,
            "termination_message_path": None,
        }
    )


def _evaluate_config(path: Path) -> RunConfig:
    try:
        return RunConfig.model_validate_json(read_bounded(path, CONFIG_LIMIT))
    except (OSError, ValidationError):
        raise ServingError(f"{path} is missing or damaged; run again: distillery run FILE") from None


class _Silence:
    """The verification takes seconds; nothing is shown meanwhile."""

    def progressed(self, stage: Stage, metrics: StageMetrics) -> None:
        """Nothing."""

    def estimated(self, stage: Stage, estimate: Estimate) -> None:
        """Nothing."""

    def stopping(self, stage: Stage) -> None:
        """Nothing."""
