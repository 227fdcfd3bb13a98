"""Estimates a run: the trainer counts rows and tokens and, with a pilot, sends a few rows to the teacher."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distillery_api.paths import Workspace
from distillery_api.usage import Estimate
from distillery_operator.local.references import ResolvedReferences
from distillery_operator.local.trainer import require_trainer
from distillery_operator.local.trainer_query import ask_trainer
from distillery_operator.local.workspace import opened_workspace
from distillery_operator.planning.plan import Plan


@dataclass(frozen=True)
class EstimateRun:
    """The estimate of one plan, for what `folder`, the run's own, has no replies to yet. A pilot stores its replies
    there, so that the run reuses them."""

    plan: Plan
    inputs: ResolvedReferences
    folder: Path
    pilot: bool

    def run(self) -> Estimate:
        """The estimate. Raises QueryFailed, WorkspaceError, TrainerMissing or OSError."""
        require_trainer()
        with tempfile.TemporaryDirectory() as folder, self._workspace() as (workspace, locks):
            return Estimate.model_validate_json(
                ask_trainer(
                    self._command(),
                    self.plan,
                    self.inputs,
                    Path(folder),
                    workspace=workspace,
                    keys=self.pilot,
                    locks=locks,
                )
            )

    @contextlib.contextmanager
    def _workspace(self) -> Iterator[tuple[Path | None, tuple[int, ...]]]:
        """The run's workspace and its lock for a pilot; none without a pilot."""
        if not self.pilot:
            yield None, ()
            return
        with opened_workspace(self.folder, self.plan.name) as (workspace, lock):
            yield workspace.root, (lock,)

    def _command(self) -> list[str]:
        pilot = ["--pilot"] if self.pilot else []
        replies = Workspace(self.folder.resolve()).replies
        stored = ["--replies", str(replies)] if replies.is_dir() and not self.pilot else []
        return ["estimate", *pilot, *stored]
