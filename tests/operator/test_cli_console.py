from __future__ import annotations

import errno
import os

import pytest
import typer

from distillery_operator.cli.console import errors_as_messages


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "runs/x: No space left on device; free some space, or choose another folder"),
        (errno.EACCES, "runs/x: Permission denied; choose a folder that you may write to"),
        (errno.EROFS, "runs/x: Read-only file system; choose a folder that you may write to"),
    ],
)
def test_folder_that_cannot_be_written_is_a_message_with_a_remedy(
    number: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_, errors_as_messages():
        raise OSError(number, os.strerror(number), "runs/x")
    assert (exit_.value.exit_code, capsys.readouterr().err) == (2, f"{message}\n")


def test_other_errors_of_the_system_are_not_hidden() -> None:
    with pytest.raises(OSError, match="Input/output error"), errors_as_messages():
        raise OSError(errno.EIO, "Input/output error")
