"""Exceptions that nobody expected while one row was handled, by a parser, a filter or a chat template. They cost that
row, and neither the stage nor the rows beside it."""

from __future__ import annotations

import sys
import traceback

from distillery_api.formatting import shortened
from distillery_trainer.runtime.errors import StageError, described

ENDS_STAGE = (StageError, OSError, MemoryError)
"""What is not about a row: it ends the stage."""

_LOGGED = 10
"""Tracebacks in the log; those of further rows are likely the same."""
_MESSAGE_LIMIT = 300


class RowErrors:
    """The unexpected exceptions of a stage."""

    def __init__(self) -> None:
        self.count = 0

    def message(self, row_id: str, error: Exception) -> str:
        """Log an exception; the sentence for the row's rejection."""
        self.count += 1
        if self.count <= _LOGGED:
            sys.stderr.write(f"Row {row_id} is rejected, because this software failed at it:\n")
            traceback.print_exception(error)
        text = described(error).encode(errors="replace").decode()
        return f"Distillery failed at this row ({shortened(text, _MESSAGE_LIMIT)}); please report it with the log."
