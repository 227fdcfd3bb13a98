"""How a check of the student runs in a process of its own: what it reads, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from distillery_api.stage import ExitCode
from distillery_trainer.runtime.errors import StageError


def answer(check: Callable[[bytes], str | None]) -> int:
    """Hand `check` what is on standard input, write what it found to standard output, and return the exit code. A
    StageError becomes `{"reason", "message"}` and its exit code."""
    try:
        sys.stdout.write(check(sys.stdin.buffer.read()) or "")
    except StageError as error:
        sys.stdout.write(json.dumps({"reason": error.reason, "message": error.message}))
        return error.exit_code
    return ExitCode.DONE
