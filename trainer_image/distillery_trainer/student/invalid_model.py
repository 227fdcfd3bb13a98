"""The error of a student that cannot be used, and what a library says of it."""

from __future__ import annotations

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import UserError

_LIMIT = 1000
"""Bytes. Problems quote files and errors, which may say anything."""


class InvalidModel(UserError):
    """The student's model cannot be used; the message says which one, and what to do about it."""

    def __init__(self, uri: str, problem: str) -> None:
        self.problem = cleaned(problem, _LIMIT)
        """The problem alone, without the model's name."""
        super().__init__(f"student.model.uri: {uri}: {self.problem}", reason=Reason.INVALID_MODEL)


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type if there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
