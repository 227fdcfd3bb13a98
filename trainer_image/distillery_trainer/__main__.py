"""`python -m distillery_trainer STAGE --config FILE`: read the RunConfig, run the stage, write the StageResult.
`python -m distillery_trainer estimate --config FILE [--pilot] [--replies DIR]`: print the expected usage of generate.
`python -m distillery_trainer prompts --config FILE [--row N]`: print what teacher and student get for a row.

However a stage ends, it writes its result to `<folder>/result.json`, a short form of it to the termination message, and
its message to standard error. The exit code says how to continue (see distillery_api.stage.ExitCode).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from distillery_api.formatting import without_hidden_characters
from distillery_api.reasons import Reason
from distillery_api.row_messages import RowMessages
from distillery_api.run_config import RunConfig
from distillery_api.runtime.resilient_output import accept_every_character
from distillery_api.stage import SPEC_SECTIONS, ExitCode, Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_api.usage import Estimate
from distillery_trainer.runtime.errors import StageError, TryLater, UserError, crash
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.runtime.folder_locks import locked_folders
from distillery_trainer.runtime.pruning import note_use, prune
from distillery_trainer.runtime.signals import on_termination, raise_terminated
from distillery_trainer.runtime.stage_metrics import ProgressReporter, progress_server
from distillery_trainer.runtime.watchdog import watched

ESTIMATE = "estimate"
PROMPTS = "prompts"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage, or estimate one, and return its exit code."""
    accept_every_character()
    options = _parse_arguments(arguments)
    try:
        with on_termination(raise_terminated):
            if options.command == ESTIMATE:
                config = _read_config(options.config, Stage.GENERATE)
                return _estimate(config, pilot=options.pilot, replies=options.replies)
            if options.command == PROMPTS:
                return _prompts(_read_config(options.config, Stage.GENERATE), options.row)
            return _run(_read_config(options.config, Stage(options.command)))
    except StageError as error:  # before there is a folder for the result, or stopped while writing it
        _print_message(error.message)
        return error.exit_code


def _run(config: RunConfig) -> int:
    try:
        with locked_folders(config):
            note_use(config)
            for folder in prune(config):
                _print_message(f"{folder} is deleted: no kept run needs it.")
            result = _finished_before(config) or _attempt(config)
    except StageError as error:  # the folder, and the result in it, are another stage's
        result = _failed(config, error)
    _print_message(result.message)
    _write_termination_message(result, config.termination_message_path)
    return result.exit_code


def _estimate(config: RunConfig, *, pilot: bool, replies: Path | None) -> int:
    """Print the expected usage of the teacher, as JSON."""
    # A stage does not load the libraries of another one.
    stage = importlib.import_module("distillery_trainer.stages.estimate")
    estimate: Estimate = stage.run(config, pilot=pilot, replies=replies)
    sys.stdout.write(estimate.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    return ExitCode.DONE


def _prompts(config: RunConfig, row: int) -> int:
    """Print the messages of a row, as JSON."""
    stage = importlib.import_module("distillery_trainer.stages.prompts")
    messages: RowMessages = stage.run(config, row)
    sys.stdout.write(messages.model_dump_json(by_alias=True) + "\n")
    return ExitCode.DONE


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="distillery_trainer", description="Run one stage of a distillation.")
    parser.add_argument("command", choices=[*(stage.value for stage in Stage), ESTIMATE, PROMPTS])
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the stage's run.json")
    parser.add_argument("--pilot", action="store_true", help="with estimate: send a few rows to the teacher first")
    parser.add_argument("--row", type=int, default=1, metavar="N", help="with prompts: number of the row, from 1")
    parser.add_argument("--replies", type=Path, metavar="DIR", help="with estimate: replies that are stored already")
    return parser.parse_args(arguments)


def _read_config(path: Path, stage: Stage) -> RunConfig:
    try:
        config = RunConfig.read(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.", reason=Reason.INVALID_SPEC) from error
    except ValidationError as error:
        raise UserError(
            f"{path} is not a valid stage configuration:\n{_sentences(error)}", reason=Reason.INVALID_SPEC
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text.", reason=Reason.INVALID_SPEC) from error
    if config.stage is not stage:
        message = f"{path} is the configuration of the {config.stage} stage, not of the {stage} stage."
        raise UserError(message, reason=Reason.INVALID_SPEC)
    return config


def _sentences(error: ValidationError) -> str:
    return "\n".join(
        f"  {'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}" for problem in error.errors()
    )


def _finished_before(config: RunConfig) -> StageResult | None:
    """The result of an earlier attempt that succeeded, whose termination message may have been lost.

    A server may answer otherwise today, so verify always asks it; what was pushed may have been deleted, so publish
    always looks. Rows that failed for a passing cause are asked again, and only these: all replies are in the journal;
    so are rejected rows, on request. An evaluation is completed by the comparison with another student that is served
    now: all replies of the other systems are stored.
    """
    if config.stage in (Stage.PUBLISH, Stage.VERIFY):
        return None
    try:
        result = StageResult.model_validate_json(config.stage_folder.result.read_bytes())
    except (OSError, ValidationError):
        return None
    finished = result.state is StageOutcome.DONE and not (result.rows and result.rows.transient_failures)
    retries = config.retry_rejected is not None and config.retry_rejected.request != result.retried
    return result if finished and not retries and _is_compared(config, result) else None


def _is_compared(config: RunConfig, result: StageResult) -> bool:
    """Whether the result says how the student compares with the one that is served now."""
    if config.serving_student is None:
        return True
    known = result.evaluation.serving_comparison if result.evaluation else None
    return known is not None and known.hash == config.serving_student.hash and known.problem is None


def _attempt(config: RunConfig) -> StageResult:
    """Run the stage and write its result."""
    started = datetime.now(UTC)
    result = _result_of(config).model_copy(update={"start_time": started, "completion_time": datetime.now(UTC)})
    try:
        write_atomically(config.stage_folder.result, _json(result))
    except (OSError, StageError) as error:
        _print_message(f"The result could not be written: {error}")
        return result if result.exit_code else _failed(config, _as_stage_error(error))
    return result


def _json(result: StageResult) -> bytes:
    return result.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode()


def _as_stage_error(error: OSError | StageError) -> StageError:
    return error if isinstance(error, StageError) else UserError(str(error), reason=Reason.STORAGE_FULL)


def _result_of(config: RunConfig) -> StageResult:
    reporter = ProgressReporter(config.stage)
    try:
        with _progress_served(config, reporter), _hang_ended(config, reporter):
            stage = importlib.import_module(f"distillery_trainer.stages.{config.stage}")
            result: StageResult = stage.run(config, reporter)
            return result
    except StageError as error:
        return _failed(config, error, reporter)
    except Exception as error:  # noqa: BLE001 - a bug: the traceback goes into a bug report, the result to the user
        return _failed(config, crash(config.stage, error), reporter)


@contextlib.contextmanager
def _hang_ended(config: RunConfig, reporter: ProgressReporter) -> Iterator[None]:
    def end() -> None:
        result = _failed(config, _hang(config, reporter), reporter)
        _write_termination_message(result, config.termination_message_path)
        _print_message(result.message)
        with contextlib.suppress(OSError, StageError):
            write_atomically(config.stage_folder.result, _json(result))
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
def _progress_served(config: RunConfig, reporter: ProgressReporter) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            server = progress_server(
                reporter, config.metrics_host, config.metrics_port, config.stage_folder.metrics_port
            )
            stack.enter_context(server)
        except OSError as error:
            _print_message(
                f"Progress is not available: port {config.metrics_port} on {config.metrics_host}: {error.strerror}."
            )
        yield


def _failed(config: RunConfig, error: StageError, reporter: ProgressReporter | None = None) -> StageResult:
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
    )


def _write_termination_message(result: StageResult, path: str | None) -> None:
    if path is None:
        return
    try:
        Path(path).write_text(result.termination_message(), encoding="utf-8")
    except OSError as error:
        _print_message(f"The termination message could not be written: {error}")


def _print_message(message: str) -> None:
    sys.stderr.write(f"{without_hidden_characters(message)}\n")


if __name__ == "__main__":
    sys.exit(main())
