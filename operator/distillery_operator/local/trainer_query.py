"""Asks the trainer for something about a run that is not a stage: it prints the answer as JSON."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from distillery_api.paths import CONFIG_FILE
from distillery_api.runtime.atomic_files import write_atomically
from distillery_api.stage import ExitCode, Stage
from distillery_api.training_memory import THIS_MACHINE, TrainingMachine
from distillery_operator.local.references import ResolvedReferences
from distillery_operator.local.run import stage_variables
from distillery_operator.local.trainer import trainer_command
from distillery_operator.planning.plan import Plan
from distillery_operator.planning.stage_config import StageLocations, run_config


class QueryFailed(Exception):
    """The trainer has no answer. The message says why; `exit_code` says whether a retry may help."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def ask_trainer(
    command: Sequence[str],
    plan: Plan,
    inputs: ResolvedReferences,
    drafts: Path,
    *,
    workspace: Path | None = None,
    keys: bool = False,
    locks: tuple[int, ...] = (),
    machine: TrainingMachine = THIS_MACHINE,
) -> str:
    """What the trainer prints about the generate stage of a plan. `command` is its name with its arguments; `drafts` is
    a temporary folder, also the workspace unless there is another one; `keys` are given if it calls models; `machine`
    is the one that will train.

    Raises QueryFailed, or OSError.
    """
    name, *arguments = command
    locations = StageLocations(str(workspace or drafts), inputs.base_path, inputs.mounts)
    config = run_config(plan, plan.stage(Stage.GENERATE), locations)
    config = config.model_copy(update={"training_machine": machine})
    config_file = drafts / CONFIG_FILE
    write_atomically(config_file, config.model_dump_json(by_alias=True, exclude_none=True).encode())
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [*trainer_command(name, config_file), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, **stage_variables(plan, inputs, Stage.GENERATE, keys=keys)},
        pass_fds=locks,
    )
    if ended.returncode != ExitCode.DONE:
        message = f"the command {name} of the trainer ended with exit code {ended.returncode} and no output"
        raise QueryFailed(ended.stderr.strip() or message, ended.returncode)
    return ended.stdout
