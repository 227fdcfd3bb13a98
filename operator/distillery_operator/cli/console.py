"""Console output, and how expected errors end the program: with a message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

import typer
from rich.console import Console

from distillery_api.stage import ExitCode
from distillery_operator.cli.layout import say
from distillery_operator.local.student_server import ServingError
from distillery_operator.local.trainer import TrainerMissing
from distillery_operator.local.workspace import WorkspaceError
from distillery_operator.manifest_input.manifest_file import ManifestError


class ResilientStream:
    """A stream that ignores a closed pipe or terminal, so that a reader that goes away does not stop a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it if the stream is closed."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it is closed."""
        self._attempt(self._stream.flush)

    def _attempt(self, operation: Callable[[], object]) -> None:
        try:
            operation()
        except OSError:
            with open(os.devnull, "w") as null_device:
                os.dup2(null_device.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def output() -> Console:
    """Standard output. Without a terminal, tables are at least 100 characters wide."""
    console = _console(sys.stdout)
    if not sys.stdout.isatty():
        console.width = max(console.width, 100)
    return console


def print_error(message: str) -> None:
    """Print a message to standard error; without a terminal, in one line, so that it can be searched for."""
    say(_console(sys.stderr), message, "red")


def _console(stream: TextIO) -> Console:
    # Somebody who wants colours in a pipe (FORCE_COLOR) wants no lines that are drawn over.
    interactive = None if stream.isatty() else False
    return Console(file=cast(TextIO, ResilientStream(stream)), highlight=False, force_interactive=interactive)


_FREE_SPACE = "free some space, or choose another folder"
_OTHER_FOLDER = "choose a folder that you may write to"
_STORAGE_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EROFS: _OTHER_FOLDER,
    errno.EACCES: _OTHER_FOLDER,
}


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn expected errors into messages and exit code 2."""
    try:
        yield
    except ManifestError as error:
        for problem in error.problems:
            print_error(problem)
    except (WorkspaceError, TrainerMissing, ServingError) as error:
        print_error(str(error))
    except OSError as error:
        if error.errno not in _STORAGE_REMEDIES:
            raise
        print_error(f"{error.filename or 'the workspace'}: {error.strerror}; {_STORAGE_REMEDIES[error.errno]}")
    else:
        return
    raise typer.Exit(ExitCode.USER_ERROR)
