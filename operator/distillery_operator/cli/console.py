"""Where output goes, and how an error that a person can act on ends the program: a sentence and an exit code."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from distillery_api.result import ExitCode
from distillery_operator.local.run import TrainerMissing
from distillery_operator.local.serving import ServingError
from distillery_operator.local.workspace import WorkspaceError
from distillery_operator.manifest_file import ManifestError


def output() -> Console:
    """Standard output; tables keep a width that fits a page where there is no terminal to ask."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 100)
    return console


def say_error(message: str) -> None:
    """A sentence on standard error, never wrapped, so that it can be searched for."""
    Console(stderr=True, highlight=False).print(message, soft_wrap=True, markup=False, style="red")


@contextmanager
def sentences() -> Iterator[None]:
    """Turns the errors that people can act on into sentences and exit code 2."""
    try:
        yield
    except ManifestError as error:
        for problem in error.problems:
            say_error(problem)
    except (WorkspaceError, TrainerMissing, ServingError) as error:
        say_error(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        say_error(
            f"{error.filename or 'the workspace'}: {error.strerror}; make room or choose another folder with --out DIR"
        )
    else:
        return
    raise typer.Exit(ExitCode.USER_ERROR)
