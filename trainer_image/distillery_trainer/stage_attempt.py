"""A stage in this process, to its end: progress is served, a hang ends the process, and an error becomes a result."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator

from distillery_api.formatting import without_hidden_characters
from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.stage import SPEC_SECTIONS
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.processes.process_group import ProcessLost
from distillery_trainer.runtime.errors import StageError, TryLater, crash
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.runtime.repeated_lines import REPEATED
from distillery_trainer.runtime.stage_metrics import ProgressReporter, progress_server
from distillery_trainer.runtime.watchdog import watched
from distillery_trainer.tracking.tracked_stage import tracked


def stage_result(
    config: RunConfig, on_hang: Callable[[StageResult], object], *, serves_progress: bool = True
) -> StageResult:
    """Run the stage. One that hangs ends the process, after `on_hang` got its result. Raises ProcessLost."""
    reporter = ProgressReporter(config.stage)
    with tracked(config, reporter, is_wanted=serves_progress) as tracking:
        return tracking.finished(_reported_result(config, reporter, on_hang, serves_progress))


def _reported_result(
    config: RunConfig, reporter: ProgressReporter, on_hang: Callable[[StageResult], object], serves_progress: bool
) -> StageResult:
    try:
        with _progress_served(config, reporter, serves_progress), _hang_ended(config, reporter, on_hang):
            stage = importlib.import_module(f"distillery_trainer.stages.{config.stage}")
            result: StageResult = stage.run(config, reporter)
            return result
    except StageError as error:
        return failed_result(config, error, reporter)
    except ProcessLost:
        raise
    except Exception as error:  # noqa: BLE001 - a bug: the traceback goes into a bug report, the result to the user
        return failed_result(config, crash(config.stage, error), reporter)
    finally:
        REPEATED.say_counts()


def failed_result(config: RunConfig, error: StageError, reporter: ProgressReporter | None = None) -> StageResult:
    """The result of a stage that ended with an error."""
    return StageResult(
        stage=config.stage,
        folder=config.folder,
        state=StageOutcome.FAILED,
        exit_code=error.exit_code,
        reason=error.reason,
        message=error.message,
        progress=reporter.progress if reporter else None,
        rows=error.partial_result.rows,
        splits=dict(error.partial_result.splits),
        usage=error.partial_result.usage,
        files=dict(error.partial_result.files),
        micro_batches=error.partial_result.micro_batches,
    )


def write_result(config: RunConfig, result: StageResult) -> None:
    """Write the result to the stage's folder. Raises OSError and StageError."""
    write_atomically(config.stage_folder.result, result_json(result))


def result_json(result: StageResult) -> bytes:
    """The result as it is stored."""
    return result.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode()


def print_message(message: str) -> None:
    """Print a message for people to the stage's log."""
    sys.stderr.write(f"{without_hidden_characters(message)}\n")


@contextlib.contextmanager
def _hang_ended(
    config: RunConfig, reporter: ProgressReporter, on_hang: Callable[[StageResult], object]
) -> Iterator[None]:
    def end() -> None:
        result = failed_result(config, _hang(config, reporter), reporter)
        on_hang(result)
        os._exit(result.exit_code)

    with watched(lambda: reporter.activity, config.progress_timeout_seconds, end):
        yield


def _hang(config: RunConfig, reporter: ProgressReporter) -> StageError:
    at = reporter.progress
    where = f" after {at.done:,} of {at.total:,} {at.unit}" if at and at.total else ""
    section = SPEC_SECTIONS[config.stage]
    return TryLater(
        f"The {config.stage} stage made no progress for {_duration(config.progress_timeout_seconds)}{where}, and was"
        f" ended. The log shows what each of its threads was doing. If nothing hangs, raise {section}.progressTimeout.",
        reason=Reason.NO_PROGRESS,
    )


def _duration(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


@contextlib.contextmanager
def _progress_served(config: RunConfig, reporter: ProgressReporter, wanted: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            if wanted:
                server = progress_server(
                    reporter, config.metrics_host, config.metrics_port, config.stage_folder.metrics_port
                )
                stack.enter_context(server)
        except OSError as error:
            print_message(
                f"Progress is not available: port {config.metrics_port} on {config.metrics_host}: {error.strerror}."
            )
        yield
