"""Where output goes, and how an error that a person can act on ends the program: a sentence and an exit code."""

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
from distillery_operator.local.student_server import ServingError
from distillery_operator.local.trainer import TrainerMissing
from distillery_operator.local.workspace import WorkspaceError
from distillery_operator.manifest_input.manifest_file import ManifestError


class ResilientStream:
    """A stream that may go away, with a closed pipe or terminal: who stops reading must not stop a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or drops what nobody can read any more."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flushes, where there is still something to flush to."""
        self._attempt(self._stream.flush)

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def output() -> Console:
    """Standard output; tables keep a width that fits a page where there is no terminal to ask."""
    console = Console(file=cast(TextIO, ResilientStream(sys.stdout)), highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 100)
    return console


def print_error(message: str) -> None:
    """A sentence on standard error, never wrapped, so that it can be searched for."""
    console = Console(file=cast(TextIO, ResilientStream(sys.stderr)), highlight=False)
    console.print(message, soft_wrap=True, markup=False, style="red")


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turns the errors that people can act on into sentences and exit code 2."""
    try:
        yield
    except ManifestError as error:
        for problem in error.problems:
            print_error(problem)
    except (WorkspaceError, TrainerMissing, ServingError) as error:
        print_error(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        print_error(
            f"{error.filename or 'the workspace'}: {error.strerror}; make room or choose another folder with --out DIR"
        )
    else:
        return
    raise typer.Exit(ExitCode.USER_ERROR)
