"""`python -m distillery_trainer STAGE --config FILE`: read the RunConfig, run the stage, write the StageResult.
`python -m distillery_trainer estimate --config FILE [--pilot] [--replies DIR]`: print the expected usage of generate.
`python -m distillery_trainer prompts --config FILE [--row N]`: print what teacher and student get for a row.
`python -m distillery_trainer memory --config FILE [--rows]`: print the memory that the training will take.

However a stage ends, it writes its result to `<folder>/result.json`, a short form of it to the termination message, and
its message to standard error. The exit code says how to continue (see distillery_api.stage.ExitCode).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from distillery_api.reasons import Reason
from distillery_api.row_messages import RowMessages
from distillery_api.run_config import RunConfig
from distillery_api.runtime.resilient_output import accept_every_character
from distillery_api.stage import ExitCode, Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_api.training_memory import TrainingMemory
from distillery_api.usage import Estimate
from distillery_trainer.processes.launch import is_first_node, takes_several_processes, train_in_processes
from distillery_trainer.runtime.errors import StageError, UserError
from distillery_trainer.runtime.folder_locks import locked_folders
from distillery_trainer.runtime.pruning import note_use, prune
from distillery_trainer.runtime.signals import on_termination, raise_terminated
from distillery_trainer.stage_attempt import failed_result, print_message, stage_result, write_result

ESTIMATE = "estimate"
PROMPTS = "prompts"
MEMORY = "memory"


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
            if options.command == MEMORY:
                return _memory(_read_config(options.config, Stage.GENERATE), reads_rows=options.rows)
            return _run(_read_config(options.config, Stage(options.command)))
    except StageError as error:  # before there is a folder for the result, or stopped while writing it
        print_message(error.message)
        return error.exit_code


def _run(config: RunConfig) -> int:
    result = _run_first(config) if is_first_node(config) else _finished_before(config) or _result_of(config)
    print_message(result.message)
    _write_termination_message(result, config.termination_message_path)
    return result.exit_code


def _run_first(config: RunConfig) -> StageResult:
    """Run the stage, or what of it the first node does alone, in its folder."""
    try:
        with locked_folders(config):
            note_use(config)
            for folder in prune(config):
                print_message(f"{folder} is deleted: no kept run needs it.")
            return _finished_before(config) or _attempt(config)
    except StageError as error:  # the folder, and the result in it, are another stage's
        return failed_result(config, error)


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


def _memory(config: RunConfig, *, reads_rows: bool) -> int:
    """Print the memory of the training, as JSON."""
    stage = importlib.import_module("distillery_trainer.stages.memory")
    memory: TrainingMemory = stage.run(config, reads_rows=reads_rows)
    sys.stdout.write(memory.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    return ExitCode.DONE


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="distillery_trainer", description="Run one stage of a distillation.")
    parser.add_argument("command", choices=[*(stage.value for stage in Stage), ESTIMATE, PROMPTS, MEMORY])
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the stage's run.json")
    parser.add_argument("--pilot", action="store_true", help="with estimate: send a few rows to the teacher first")
    parser.add_argument("--rows", action="store_true", help="with memory: of the rows, not the longest allowed")
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
        write_result(config, result)
    except (OSError, StageError) as error:
        print_message(f"The result could not be written: {error}")
        return result if result.exit_code else failed_result(config, _as_stage_error(error))
    return result


def _as_stage_error(error: OSError | StageError) -> StageError:
    return error if isinstance(error, StageError) else UserError(str(error), reason=Reason.STORAGE_FULL)


def _result_of(config: RunConfig) -> StageResult:
    def hung(result: StageResult) -> None:
        _write_termination_message(result, config.termination_message_path)
        print_message(result.message)
        with contextlib.suppress(OSError, StageError):
            write_result(config, result)

    if not takes_several_processes(config):
        return stage_result(config, hung)
    try:
        return train_in_processes(config)
    except StageError as error:
        return failed_result(config, error)


def _write_termination_message(result: StageResult, path: str | None) -> None:
    if path is None:
        return
    try:
        Path(path).write_text(result.termination_message(), encoding="utf-8")
    except OSError as error:
        print_message(f"The termination message could not be written: {error}")


if __name__ == "__main__":
    sys.exit(main())
