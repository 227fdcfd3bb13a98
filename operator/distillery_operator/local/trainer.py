"""The trainer as a program: `python -m distillery_trainer`, which the operator starts and never imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRAINER = "distillery_trainer"


class TrainerMissing(Exception):
    """The libraries of the stages are not installed; the message says how to install them."""


def trainer_command(command: str, config: Path) -> list[str]:
    """How to start a stage, or its estimate, on this machine."""
    return [sys.executable, "-m", TRAINER, command, "--config", str(config)]


def require_trainer() -> None:
    """Raises TrainerMissing where a library of the stages is not installed.

    The trainer itself is asked, in the interpreter and on the search path that the stages will run with: only it knows
    what it needs. A trainer that cannot even answer is started all the same; its log then says why it fails.
    """
    asked = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", f"{TRAINER}.missing_libraries"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    if missing := asked.stdout.split():
        raise TrainerMissing(
            f"the stages need libraries that are not installed ({', '.join(missing)});"
            " run: pip install 'distillery[trainer]'"
        )
