"""The trainer as a program: `python -m distillery_trainer`, which the operator starts and never imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRAINER = "distillery_trainer"


class TrainerMissing(Exception):
    """Libraries that the stages need are not installed. The message says how to install them."""


def trainer_command(command: str, config: Path) -> list[str]:
    """The command that starts a stage, or an estimate, on this machine. Its texts are UTF-8 whatever the locale, and it
    imports nothing from the working directory."""
    return [sys.executable, "-P", "-X", "utf8", "-m", TRAINER, command, "--config", str(config)]


def require_trainer() -> None:
    """Raises TrainerMissing if a library that the stages need is not installed.

    The trainer checks this itself, with the interpreter and search path of the stages, since only it knows what it
    needs. If the check itself fails, the stage is started anyway, and its log says why it fails.
    """
    check = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-P", "-m", f"{TRAINER}.missing_libraries"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    if missing := check.stdout.split():
        raise TrainerMissing(
            f"the stages require libraries that are not installed ({', '.join(missing)});"
            " run in a checkout of Distillery: pip install --constraint constraints.txt '.[trainer]'"
        )
