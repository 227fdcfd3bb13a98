"""`result.json` at the top of a workspace: the result of the whole run, for people and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from distillery_api.base import LenientModel
from distillery_api.evaluation import Evaluation
from distillery_api.paths import Workspace
from distillery_api.reasons import Reason
from distillery_api.spec.fields import ObjectName
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts, StageOutcome, StageResult, TrainingFigures
from distillery_api.usage import Estimate, Usage
from distillery_api.verification import Verification
from distillery_operator.local.folder_access import read_bounded

RESULT_LIMIT = 16 * 1024 * 1024
"""Bytes. A larger file is none of ours."""


class RunState(StrEnum):
    """State of a run."""

    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    INTERRUPTED = "Interrupted"


class StageSummary(LenientModel):
    """One stage of the run."""

    name: Stage
    """Name of the stage: generate, train, evaluate or publish."""
    folder: str
    """The stage's folder in the workspace."""
    state: StageOutcome
    """Done or Failed."""


class StudentRecord(LenientModel):
    """One student, with what is known of it."""

    folder: str
    """Folder of its train stage."""
    completion_time: datetime | None = None
    """Time at which the last stage of its run ended."""
    training: TrainingFigures | None = None
    """Figures of the training."""
    evaluation: Evaluation | None = None
    """The result table."""
    verification: Verification | None = None
    """How it answered when it was served."""
    files: dict[str, str] = {}
    """Paths of the run's artefacts relative to the workspace, by name."""


class RunResult(LenientModel):
    """The result of a run. After a failure, it contains the figures of the failed stage and of those before it."""

    name: ObjectName
    """Name of the Distillation."""
    state: RunState
    """Running, Done, Failed or Interrupted."""
    reason: Reason
    """Machine-readable reason."""
    message: str = ""
    """Human-readable message."""
    until: Stage | None = None
    """The last stage that was requested; null for all stages."""
    start_time: datetime | None = None
    """Time at which the first stage started."""
    completion_time: datetime | None = None
    """Time at which the last stage ended."""
    stages: tuple[StageSummary, ...] = ()
    """The stages that have ended, in order."""
    rows: RowCounts = RowCounts()
    """Number of rows of all splits: read = kept + rejected."""
    usage: Usage = Usage()
    """Requests, tokens and cost."""
    estimate: Estimate | None = None
    """Expected requests, tokens and cost."""
    training: TrainingFigures | None = None
    """Figures of the training."""
    evaluation: Evaluation | None = None
    """The result table."""
    verification: Verification | None = None
    """How the student answered when it was served from this folder last."""
    hub_revision: str | None = None
    """The student's commit on the Hub, once it is published: hf://ORG/NAME@COMMIT."""
    files: dict[str, str] = {}
    """Paths of artefacts relative to the workspace, by name; only those that exist."""
    students: tuple[StudentRecord, ...] = ()
    """Students that were made in this folder, the newest first, each with its scores and files."""

    def to_json(self) -> str:
        """The content of the file. Fields without a value are null, so that scripts find every field."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def summarise(
    name: str,
    stages: Sequence[StageResult],
    workspace: Workspace,
    *,
    state: RunState,
    reason: Reason,
    message: str,
    until: Stage | None = None,
) -> RunResult:
    """The result of a run whose `stages` have ended, in order."""
    by_stage = {each.stage: each for each in stages}
    generated, trained = by_stage.get(Stage.GENERATE), by_stage.get(Stage.TRAIN)
    evaluated, published = by_stage.get(Stage.EVALUATE), by_stage.get(Stage.PUBLISH)
    return RunResult(
        name=name,
        state=state,
        reason=reason,
        message=message,
        until=until,
        start_time=stages[0].start_time if stages else None,
        completion_time=stages[-1].completion_time if stages and state is not RunState.RUNNING else None,
        stages=tuple(StageSummary(name=each.stage, folder=each.folder, state=each.state) for each in stages),
        rows=total_rows(generated.rows if generated else None, trained.rows if trained else None),
        usage=sum((each.usage for each in stages if each.usage), Usage()),
        estimate=generated.estimate if generated else None,
        training=trained.training if trained else None,
        evaluation=evaluated.evaluation if evaluated else None,
        verification=_verification(evaluated, workspace) if evaluated else None,
        hub_revision=published.hub_revision if published else None,
        files=_files(stages, workspace),
    )


def verification_folder(evaluate_folder: str) -> str:
    """The folder of a local verification, which belongs to one evaluation."""
    return f"{Stage.VERIFY}-{evaluate_folder.removeprefix(f'{Stage.EVALUATE}-')}"


def _verification(evaluated: StageResult, workspace: Workspace) -> Verification | None:
    result = read_stage_result(workspace.stage(verification_folder(evaluated.folder)).result)
    return result.verification if result else None


def total_rows(generated: RowCounts | None, trained: RowCounts | None) -> RowCounts:
    """The rows of the generate stage, with those that the train stage rejected as untrainable."""
    rows = generated or RowCounts()
    if trained is None or not trained.rejected:
        return rows
    reasons = dict(rows.rejected_by_reason)
    for reason, count in trained.rejected_by_reason.items():
        reasons[reason] = reasons.get(reason, 0) + count
    return RowCounts(
        read=rows.read,
        kept=rows.kept - trained.rejected,
        rejected=rows.rejected + trained.rejected,
        rejected_by_reason=reasons,
        transient_failures=rows.transient_failures,
    )


def _files(stages: Sequence[StageResult], workspace: Workspace) -> dict[str, str]:
    files: dict[str, str] = {}
    for stage in reversed(stages):
        files.update(stage.files)
    return {name: path for name, path in sorted(files.items()) if (workspace.root / path).exists()}


def read_stage_result(path: Path) -> StageResult | None:
    """The stage's result in the file; None if it does not exist or cannot be read."""
    try:
        return StageResult.model_validate_json(read_bounded(path, RESULT_LIMIT))
    except (OSError, ValueError):
        return None


def read_run_result(path: Path) -> RunResult | None:
    """The run's result in the file; None if it does not exist or cannot be read."""
    try:
        return RunResult.model_validate_json(read_bounded(path, RESULT_LIMIT))
    except (OSError, ValueError):
        return None


def missing_files(result: StageResult, root: Path) -> Mapping[str, str]:
    """Artefacts that the result lists and that do not exist, by name."""
    return {name: path for name, path in result.files.items() if not (root / path).exists()}
