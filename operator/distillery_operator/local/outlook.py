"""What a run in a folder would do: which stages are done there, which run, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from distillery_api.paths import Workspace
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_operator.local.earlier_configs import changes, latest_config
from distillery_operator.local.gate import failed_gate
from distillery_operator.local.local_plan import stages_to_run
from distillery_operator.local.references import ResolvedReferences
from distillery_operator.local.run import asks_again, finished_result
from distillery_operator.local.run_result import read_stage_result
from distillery_operator.planning.plan import Plan, PlannedStage
from distillery_operator.planning.stage_config import StageLocations, run_config


class OutlookState(StrEnum):
    """What a run would do with a stage, in words."""

    DONE = "done"
    WILL_RUN = "will run"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class StageOutlook:
    """What a run would do with one stage."""

    stage: Stage
    folder: str
    state: OutlookState
    why: str
    """Since when it is done, or why it runs or does not."""


def outlook(plan: Plan, inputs: ResolvedReferences, root: Path) -> list[StageOutlook]:
    """What a run of `plan` in the folder `root`, which need not exist, would do with each stage."""
    workspace, found, follows = Workspace(root.resolve()), list[StageOutlook](), ""
    done: list[StageResult] = []
    for stage in stages_to_run(plan, None):
        planned = plan.stage(stage)
        result = finished_result(workspace, planned)
        failed = failed_gate(plan, done) if stage is Stage.PUBLISH else None
        if failed:
            state, why = OutlookState.LEFT_OUT, f"the student fails the quality gate: {failed.message}"
        elif result is not None:
            state, why = _with_result(result)
        else:
            why = _why(workspace, planned, _config(plan, inputs, planned, workspace), follows)
            state, follows = OutlookState.WILL_RUN, follows or f"it follows {stage}, which runs"
        found.append(StageOutlook(stage, planned.folder, state, why))
        if result is not None:
            done.append(result)
            plan = plan.with_rows(result.rows_revision)
    return found


def _with_result(result: StageResult) -> tuple[OutlookState, str]:
    """What a run would do with a finished stage, and why."""
    if asks_again(result) and result.rows is not None:
        return OutlookState.WILL_RUN, f"{result.rows.transient_failures:,} rows failed for a cause that may pass"
    return OutlookState.DONE, f"since {result.completion_time:%Y-%m-%d %H:%M}" if result.completion_time else ""


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
