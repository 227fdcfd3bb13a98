"""The error of a student that cannot be used."""

from __future__ import annotations

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import UserError

_LIMIT = 1000
"""Bytes. Problems quote files and errors, which may say anything."""


class InvalidModel(UserError):
    """The student's model cannot be used; the message says which one, and what to do about it."""

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(f"student.model.uri: {uri}: {cleaned(problem, _LIMIT)}", reason=Reason.INVALID_MODEL)
