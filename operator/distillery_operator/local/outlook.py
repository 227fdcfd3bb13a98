"""What a run in a folder would do: which stages are done there, which run, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distillery_api.paths import Workspace
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome
from distillery_operator.local.earlier_configs import changes, latest_config
from distillery_operator.local.local_plan import stages_to_run
from distillery_operator.local.references import ResolvedReferences
from distillery_operator.local.run import asks_again, finished_result
from distillery_operator.local.run_result import read_stage_result
from distillery_operator.planning.plan import Plan, PlannedStage
from distillery_operator.planning.stage_config import StageLocations, run_config


@dataclass(frozen=True)
class StageOutlook:
    """What a run would do with one stage."""

    stage: Stage
    folder: str
    done: bool
    why: str
    """Since when it is done, or why it runs."""


def outlook(plan: Plan, inputs: ResolvedReferences, root: Path) -> list[StageOutlook]:
    """What a run of `plan` in the folder `root`, which need not exist, would do with each stage."""
    workspace, found, follows = Workspace(root.resolve()), list[StageOutlook](), ""
    for stage in stages_to_run(plan, None):
        planned = plan.stage(stage)
        result = finished_result(workspace, planned)
        if result is not None and not asks_again(result):
            ended = f"since {result.completion_time:%Y-%m-%d %H:%M}" if result.completion_time else ""
            found.append(StageOutlook(stage, planned.folder, True, ended))
        elif result is not None and result.rows is not None:
            why = f"{result.rows.transient_failures:,} rows failed for a cause that may pass"
            found.append(StageOutlook(stage, planned.folder, False, why))
        else:
            why = _why(workspace, planned, _config(plan, inputs, planned, workspace), follows)
            found.append(StageOutlook(stage, planned.folder, False, why))
            follows = follows or f"it follows {stage}, which runs"
        if result is not None:
            plan = plan.with_rows(result.rows_revision)
    return found


def _why(workspace: Workspace, planned: PlannedStage, config: RunConfig, follows: str) -> str:
    """Why a stage that is not done runs."""
    attempt = read_stage_result(workspace.stage(planned.folder).result)
    if attempt is not None and attempt.state is StageOutcome.FAILED:
        return f"it failed: {attempt.message}"
    if workspace.stage(planned.folder).config.exists():
        return "it was interrupted, or its files are missing or damaged"
    before = latest_config(workspace, planned.stage, but=planned.folder)
    if before is None:
        return "it has not run yet"
    changed = changes(before, config)
    if changed:
        return "; ".join(changed)
    return follows or "the content of what it reads has changed"


def _config(plan: Plan, inputs: ResolvedReferences, planned: PlannedStage, workspace: Workspace) -> RunConfig:
    return run_config(plan, planned, StageLocations(str(workspace.root), inputs.base_path, inputs.mounts))
