"""Estimates a run: the trainer counts rows and tokens and, with a pilot, sends a few rows to the teacher."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distillery_api.paths import CONFIG_FILE
from distillery_api.runtime.atomic_files import write_atomically
from distillery_api.stage import ExitCode, Stage
from distillery_api.usage import Estimate
from distillery_operator.local.references import ResolvedReferences
from distillery_operator.local.run import stage_variables
from distillery_operator.local.trainer import require_trainer, trainer_command
from distillery_operator.local.workspace import opened_workspace
from distillery_operator.planning.plan import Plan
from distillery_operator.planning.stage_config import StageLocations, run_config


class EstimateError(Exception):
    """There is no estimate. The message says why; `exit_code` says whether a retry may help."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class EstimateRun:
    """The estimate of one plan. A pilot stores its replies in `folder`, the run's own, so that the run reuses them."""

    plan: Plan
    inputs: ResolvedReferences
    folder: Path
    pilot: bool

    def run(self) -> Estimate:
        """The estimate. Raises EstimateError, WorkspaceError, TrainerMissing or OSError."""
        require_trainer()
        with tempfile.TemporaryDirectory() as drafts, self._workspace(Path(drafts)) as (root, locks):
            config_file = Path(drafts) / CONFIG_FILE
            write_atomically(config_file, self._config(root).encode())
            ended = subprocess.run(  # noqa: S603 - our own interpreter
                self._command(config_file),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                text=True,
                env={**os.environ, **stage_variables(self.plan, self.inputs, Stage.GENERATE, keys=self.pilot)},
                pass_fds=locks,
            )
        if ended.returncode != ExitCode.DONE:
            raise EstimateError(
                ended.stderr.strip() or f"the estimate ended with exit code {ended.returncode} and no output",
                ended.returncode,
            )
        return Estimate.model_validate_json(ended.stdout)

    @contextlib.contextmanager
    def _workspace(self, drafts: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
        """The run's workspace and its lock for a pilot; without a pilot, a temporary folder."""
        if not self.pilot:
            yield drafts, ()
            return
        with opened_workspace(self.folder, self.plan.name) as (workspace, lock):
            yield workspace.root, (lock,)

    def _config(self, root: Path) -> str:
        locations = StageLocations(str(root), self.inputs.base_path, self.inputs.mounts)
        config = run_config(self.plan, self.plan.stage(Stage.GENERATE), locations)
        return config.model_dump_json(by_alias=True, exclude_none=True)

    def _command(self, config_file: Path) -> list[str]:
        pilot = ["--pilot"] if self.pilot else []
        return [*trainer_command("estimate", config_file), *pilot]
