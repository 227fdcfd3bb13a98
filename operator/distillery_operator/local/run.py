"""A run on this machine: runs the stages of the plan in order, skips finished ones, and always writes the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from distillery_api.paths import StageFolder, Workspace
from distillery_api.reasons import Reason
from distillery_api.run_config import RetryRejected
from distillery_api.runtime.atomic_files import write_atomically
from distillery_api.runtime.line_checksums import is_damaged
from distillery_api.runtime.stop_signals import StopRequest
from distillery_api.stage import RUNNING_REASONS, ExitCode, Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_api.training_memory import THIS_MACHINE
from distillery_operator.core.call_costs import with_call_costs
from distillery_operator.local.earlier_configs import read_config
from distillery_operator.local.gate import failed_gate, local_verdict
from distillery_operator.local.local_plan import stages_to_run
from distillery_operator.local.references import ResolvedReferences
from distillery_operator.local.run_result import (
    RunResult,
    RunState,
    missing_files,
    read_run_result,
    read_stage_result,
    summarise,
)
from distillery_operator.local.stage_process import StageListener, StageProcess
from distillery_operator.local.students import with_students
from distillery_operator.local.trainer import require_trainer
from distillery_operator.local.workspace import opened_workspace
from distillery_operator.planning.plan import Plan, PlannedStage
from distillery_operator.planning.retry_rejected import concerned_rows
from distillery_operator.planning.stage_config import StageLocations, api_keys, credentials, run_config

GATE_FAILED_EXIT_CODE = 4
"""How `distillery run` ends where every stage is done and the student fails the quality gate."""

RETRY_SECONDS = (5.0, 15.0, 45.0)
"""Delays before the retries of a stage that failed with exit code TRY_LATER."""


class RunListener(StageListener, Protocol):
    """Receives the progress of a run."""

    def already_done(self, result: StageResult) -> None:
        """A stage was done in an earlier run."""

    def started(self, stage: Stage, attempt: int) -> None:
        """An attempt at a stage starts."""

    def done(self, result: StageResult) -> None:
        """A stage is done. Failures are in the outcome of the run."""

    def retrying(self, result: StageResult, seconds: float, attempt: int, attempts: int) -> None:
        """A stage failed with a transient failure and is started again after `seconds`."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended. It is idle if no stage had to run."""

    result: RunResult
    exit_code: int
    idle: bool


@dataclass
class LocalRun:
    """One run of a plan in a folder."""

    plan: Plan
    inputs: ResolvedReferences
    folder: Path
    listener: RunListener
    stop: StopRequest
    until: Stage | None = None
    retry_seconds: Sequence[float] = RETRY_SECONDS
    retry_rejected: RetryRejected | None = None
    """The rejected rows to ask again."""
    results: list[StageResult] = field(default_factory=list)
    before: RunResult | None = None
    """What result.json said when the run began."""

    def run(self) -> RunOutcome:
        """Run the stages that are not done. Raises WorkspaceError, TrainerMissing or OSError."""
        with opened_workspace(self.folder, self.plan.name) as (workspace, lock):
            idle, self.before = True, read_run_result(workspace.result)
            for stage in stages_to_run(self.plan, self.until):
                if stage is Stage.PUBLISH and failed_gate(self.plan, self.results):
                    break
                found = finished_result(workspace, self.plan.stage(stage))
                if found is not None and not asks_again(found) and not self._retries(found):
                    self.listener.already_done(found)
                else:
                    idle = False
                    found = self._run_stage(workspace, lock, self.plan.stage(stage))
                self.results.append(found)
                if found.state is StageOutcome.FAILED or self.stop.requested:
                    break
                self.plan = self.plan.with_rows(found.rows_revision)
            self.results = [self._judged(each) for each in self.results]
            return self._finish(workspace, idle)

    def _run_stage(self, workspace: Workspace, lock: int, planned: PlannedStage) -> StageResult:
        """Run a stage, with retries after transient failures."""
        require_trainer()
        process = self._process(workspace, lock, planned)
        self._write_running(workspace, planned.stage)
        delays = [*self.retry_seconds, None]
        for attempt, seconds in enumerate(delays, start=1):
            self.listener.started(planned.stage, attempt)
            result = process.run(self.stop, self.listener)
            if result.state is StageOutcome.DONE:
                self.listener.done(result)
            if result.exit_code != ExitCode.TRY_LATER or seconds is None or self.stop.requested:
                break
            self.listener.retrying(result, seconds, attempt + 1, len(delays))
            if self.stop.wait(seconds):
                break
        return result

    def _process(self, workspace: Workspace, lock: int, planned: PlannedStage) -> StageProcess:
        locations = StageLocations(str(workspace.root), self.inputs.base_path, self.inputs.mounts)
        config = run_config(self.plan, planned, locations)
        if planned.stage is Stage.GENERATE:
            retry = continued_retry(self.retry_rejected, workspace.stage(planned.folder))
            config = config.model_copy(update={"retry_rejected": retry, "training_machine": THIS_MACHINE})
        return StageProcess(config, stage_variables(self.plan, self.inputs, planned.stage), lock)

    def _retries(self, finished: StageResult) -> bool:
        """Whether a finished generate stage has rejected rows that are to be asked again."""
        return finished.stage is Stage.GENERATE and bool(concerned_rows(self.retry_rejected, finished.rows))

    def _judged(self, result: StageResult) -> StageResult:
        """The result, with the gate's verdict in its table if it has one."""
        verdict = local_verdict(self.plan, self.results)
        table = result.evaluation and result.evaluation.model_copy(update={"gate": verdict})
        return result.model_copy(update={"evaluation": table})

    def _write_running(self, workspace: Workspace, stage: Stage) -> None:
        running = summarise(
            self.plan.name,
            self.results,
            workspace,
            state=RunState.RUNNING,
            reason=RUNNING_REASONS[stage],
            message=f"{stage} is running",
            until=self.until,
        )
        self._write(workspace, running)

    def _finish(self, workspace: Workspace, idle: bool) -> RunOutcome:
        state, reason, message, exit_code = self._conclusion()
        result = summarise(
            self.plan.name, self.results, workspace, state=state, reason=reason, message=message, until=self.until
        )
        if (table := result.evaluation) is not None:
            priced = with_call_costs(table, self.plan.spec, result.verification, result.usage)
            result = result.model_copy(update={"evaluation": priced})
        return RunOutcome(self._write(workspace, result), exit_code, idle)

    def _write(self, workspace: Workspace, result: RunResult) -> RunResult:
        """Write result.json, with the students of earlier runs."""
        result = with_students(result, self.before)
        write_atomically(workspace.result, result.to_json().encode(), 0o600)
        return result

    def _conclusion(self) -> tuple[RunState, Reason, str, int]:
        last = self.results[-1]
        failed = failed_gate(self.plan, self.results)
        if failed:
            message = f"quality gate: {failed.message}"
            return RunState.FAILED, Reason.QUALITY_GATE_FAILED, message, GATE_FAILED_EXIT_CODE
        if last.state is StageOutcome.DONE and last.stage is stages_to_run(self.plan, self.until)[-1]:
            message = f"all stages up to {self.until} are done" if self.until else "all stages are done"
            return RunState.DONE, Reason.SUCCEEDED, message, 0
        if self.stop.requested:
            message = f"stopped during {last.stage}; all finished work is saved; run the same command again to resume"
            return RunState.INTERRUPTED, Reason.TERMINATED, message, 128 + (self.stop.signal or 0)
        return RunState.FAILED, last.reason, f"{last.stage}: {last.message}", last.exit_code or 1


def stage_variables(plan: Plan, inputs: ResolvedReferences, stage: Stage, *, keys: bool = True) -> dict[str, str]:
    """Environment variables with the secrets of one stage: credentials for rows or the model and, if `keys`, API
    keys."""
    spec, secrets = plan.spec, inputs.secrets
    key_references = api_keys(spec, stage) if keys else {}
    variables = {
        f"{prefix}{name}": value
        for prefix, secret in credentials(spec, stage).items()
        for name, value in secrets.get(secret.secret_name, {}).items()
    }
    return {**variables, **{name: secrets[key.secret_name][key.key] for name, key in key_references.items()}}


def record_failure(folder: Path, name: str, reason: Reason, message: str) -> None:
    """Write to the workspace's result.json that a run could not start. Figures of earlier runs stay in it.

    Raises WorkspaceError or OSError.
    """
    with opened_workspace(folder, name) as (workspace, _):
        failed = read_run_result(workspace.result) or RunResult(name=name, state=RunState.FAILED, reason=reason)
        failed = failed.model_copy(update={"state": RunState.FAILED, "reason": reason, "message": message})
        write_atomically(workspace.result, failed.to_json().encode(), 0o600)


def finished_result(workspace: Workspace, planned: PlannedStage) -> StageResult | None:
    """The result of a stage that is done and whose artefacts all exist, undamaged; None otherwise: what is done a
    second time costs nothing, since all replies are stored."""
    result = read_stage_result(workspace.stage(planned.folder).result)
    if result is None or result.state is not StageOutcome.DONE or missing_files(result, workspace.root):
        return None
    rows = (workspace.root / path for path in result.files.values() if path.endswith(".jsonl"))
    return None if any(is_damaged(path) for path in rows) else result


def continued_retry(retry: RetryRejected | None, folder: StageFolder) -> RetryRejected | None:
    """The request to ask rejected rows again; where an earlier one was interrupted, that one goes on, so that no row is
    asked a second time."""
    before, result = read_config(folder), read_stage_result(folder.result)
    if retry is None or before is None or before.retry_rejected is None:
        return retry
    interrupted = result is None or result.reason is Reason.TERMINATED
    return retry.model_copy(update={"request": before.retry_rejected.request}) if interrupted else retry


def asks_again(finished: StageResult) -> bool:
    """Whether rows of a finished stage failed for a cause that may have passed, so that a run asks them again."""
    return finished.rows is not None and finished.rows.transient_failures > 0
