"""Exceptions that nobody expected while one row was handled, by a parser, a filter or a chat template. They cost that
row, and neither the stage nor the rows beside it."""

from __future__ import annotations

import sys
import traceback

from distillery_api.formatting import cleaned, without_hidden_characters
from distillery_trainer.runtime.errors import StageError, described
from distillery_trainer.runtime.repeated_lines import REPEATED

ENDS_STAGE = (StageError, OSError, MemoryError)
"""What is not about a row: it ends the stage."""

_MESSAGE_LIMIT = 300
_ROW_ID_LIMIT = 200


class RowErrors:
    """The unexpected exceptions of a stage. Each kind stands in the log once, with its traceback, and is counted."""

    def __init__(self) -> None:
        self.count = 0

    def message(self, row_id: str, error: Exception) -> str:
        """Log an exception; the sentence for the row's rejection."""
        self.count += 1
        text = cleaned(described(error).encode(errors="replace").decode(), _MESSAGE_LIMIT)
        if REPEATED.is_new(_kind(error), f"a row is rejected, because this software failed at it ({text})"):
            shown = without_hidden_characters("".join(traceback.format_exception(error)))
            id_shown = cleaned(row_id, _ROW_ID_LIMIT)
            sys.stderr.write(f"Row {id_shown} is rejected, because this software failed at it:\n{shown}")
        return f"Distillery failed at this row ({text}); please report it with the log."


def _kind(error: Exception) -> str:
    """The same for exceptions of one type from the same lines of code, whatever they say of their row."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    return " ".join((type(error).__name__, *places))
