"""`python -m distillery_trainer.training_process --config FILE --outcome FILE`: one of several processes of a training,
as torchrun starts them.

The first that has a result records it as the outcome of all, and ends with exit code 0. One that lost another process
ends with exit code 1 and without a result: torchrun then starts all of them again, and they resume from the last
checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.resilient_output import accept_every_character
from distillery_api.stage_result import StageResult
from distillery_trainer.processes.launch import STOPPING_FILE
from distillery_trainer.processes.outcome import Outcome
from distillery_trainer.processes.process_group import ProcessLost
from distillery_trainer.runtime.errors import StageError
from distillery_trainer.runtime.signals import end_with_parent, on_termination, raise_terminated
from distillery_trainer.stage_attempt import failed_result, print_message, stage_result


def main() -> int:
    """Train, and return the exit code."""
    accept_every_character()
    end_with_parent()
    parser = argparse.ArgumentParser(prog="training_process", description="One of several processes of a training.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--outcome", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    config, outcome = RunConfig.read(options.config), Outcome(options.outcome)
    stopping = options.config.with_name(STOPPING_FILE)
    if outcome.is_known or stopping.exists():
        return 0
    is_first = os.environ["RANK"] == "0"

    def hung(result: StageResult) -> None:
        print_message(result.message)
        outcome.record(result)

    try:
        with on_termination(raise_terminated):
            result = stage_result(config, hung, serves_progress=is_first)
    except StageError as error:
        result = failed_result(config, error)
    except ProcessLost as lost:
        print_message(f"Process {os.environ['RANK']} lost another one: {lost}")
        return 1
    if result.reason is Reason.TERMINATED and not stopping.exists():
        return 1  # only to start again with the others
    return _ended(result, outcome, is_first=is_first)


def _ended(result: StageResult, outcome: Outcome, *, is_first: bool) -> int:
    """Whoever fails says so for all; that all is done or stopped is for the first process to say."""
    together = result.exit_code == 0 or result.reason is Reason.TERMINATED
    if is_first or not together:
        outcome.record(result)
    return 0 if together else 1


if __name__ == "__main__":
    sys.exit(main())
