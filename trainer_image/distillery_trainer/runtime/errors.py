"""How a stage fails. Every error that a stage raises on purpose is one of these.

StageError            the message tells the user what is wrong, where, and what to do about it
├── UserError         the user must change something; the stage is not retried (exit code 2)
├── TryLater          the input is valid; a later attempt may succeed (exit code 3)
└── Terminated        the stage was asked to stop; the next attempt resumes from here (exit code 143)
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from distillery_api.reasons import Reason
from distillery_api.stage import FAILURE_REASONS, ExitCode, Stage
from distillery_api.stage_result import RowCounts
from distillery_api.usage import Usage

_NO_SPACE = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too big"}
_NOT_ALLOWED = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the volume is read-only",
    errno.ENOTDIR: "a part of the path is a file",
}


@dataclass(frozen=True)
class PartialResult:
    """What a stage achieved before it failed."""

    rows: RowCounts | None = None
    splits: Mapping[str, RowCounts] = field(default_factory=dict)
    usage: Usage | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """Paths relative to the workspace, by name."""
    micro_batches: int | None = None
    """Into how many parts a training batch was divided when the memory was still exhausted."""


class StageError(Exception):
    """A stage cannot continue. `message` is for the user; the stage fills in `partial_result` before it ends."""

    exit_code: int = 1

    def __init__(self, message: str, *, reason: Reason, partial_result: PartialResult | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.partial_result = partial_result or PartialResult()


class UserError(StageError):
    """The user must change something."""

    exit_code = ExitCode.USER_ERROR


class TryLater(StageError):
    """The same attempt may succeed later."""

    exit_code = ExitCode.TRY_LATER


class Terminated(StageError):
    """The stage was asked to stop (SIGTERM, SIGINT)."""

    exit_code = ExitCode.TERMINATED

    def __init__(self, message: str = "The stage was stopped. Run again to resume where it left off.") -> None:
        super().__init__(message, reason=Reason.TERMINATED)


def crash(stage: Stage, error: Exception) -> StageError:
    """The error for a bug. The traceback goes to the log, for a bug report."""
    traceback.print_exception(error)
    return StageError(f"The {stage} stage crashed: {described(error)}", reason=FAILURE_REASONS[stage])


def described(error: Exception) -> str:
    """An exception as text: of a group of them, the first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class storage_errors_explained:  # noqa: N801 - used like a function; a generator would take longer than a write
    """Turns the system's errors for a volume that is full or not writable into a UserError that names `location`."""

    __slots__ = ("_location",)

    def __init__(self, location: str) -> None:
        self._location = location

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _NO_SPACE:
            raise UserError(
                f"{self._location} cannot be written: {_NO_SPACE[error.errno]}. Enlarge the volume (spec.storage.size)"
                " or free space, then run again. No paid reply is lost.",
                reason=Reason.STORAGE_FULL,
            ) from error
        if error.errno in _NOT_ALLOWED:
            message = (
                f"{self._location} cannot be written: {_NOT_ALLOWED[error.errno]}. The workspace must be a writable"
                " folder."
            )
            raise UserError(message, reason=Reason.VOLUME_UNAVAILABLE) from error
