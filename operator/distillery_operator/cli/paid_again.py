"""Another model of the teacher makes the replies of the workspace useless to a run: said before it is paid for."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from distillery_api.paths import Workspace
from distillery_api.run_config import RunConfig
from distillery_api.stage import ExitCode, Stage
from distillery_api.usage import Estimate
from distillery_operator.cli.console import output, print_error
from distillery_operator.cli.layout import say
from distillery_operator.local.earlier_configs import latest_config
from distillery_operator.local.estimate import EstimateRun
from distillery_operator.local.references import ResolvedReferences
from distillery_operator.local.run import finished_result
from distillery_operator.local.trainer_query import QueryFailed
from distillery_operator.planning.plan import Plan


def confirm_other_model(plan: Plan, inputs: ResolvedReferences, folder: Path, *, yes: bool) -> None:
    """Say how many rows another model of the teacher is asked anew. Raises typer.Exit in a terminal without `yes`;
    scripts go on."""
    workspace, planned = Workspace(folder.resolve()), plan.stage(Stage.GENERATE)
    if finished_result(workspace, planned) is not None or workspace.stage(planned.folder).config.exists():
        return
    before = latest_config(workspace, Stage.GENERATE, but=planned.folder)
    models = tuple(teacher.model for teacher in plan.spec.generation.teachers)
    if before is None or _models(before) == models:
        return
    try:
        estimate = EstimateRun(plan, inputs, folder, pilot=False).run()
    except QueryFailed:
        return  # the run meets the same problem, and says so
    if not estimate.rows:
        return
    message = sentence(_models(before), models, estimate)
    if yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        say(output(), message)
        return
    print_error(f"{message} To go on, add --yes.")
    raise typer.Exit(ExitCode.USER_ERROR)


def sentence(before: tuple[str, ...], after: tuple[str, ...], estimate: Estimate) -> str:
    """What another model means."""
    return (
        f"The teacher's model is {' and '.join(after)}, before {' and '.join(before)}: {estimate.rows:,} rows are asked"
        f" anew and paid for again ({estimate.sentence()}). The replies so far are kept."
    )


def _models(config: RunConfig) -> tuple[str, ...]:
    return tuple(teacher.model for teacher in config.generation.teachers)
