"""A few rows are asked before all others, so that a wrong prompt or model is noticed before it costs much."""

from __future__ import annotations

import asyncio

from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.filters.row_counts import no_usable_answer
from distillery_trainer.runtime.errors import StageError

FIRST_ROWS = 5
"""Rows that are asked before all others. If none of them gets an answer, the others are not asked."""


class FirstRows:
    """Whether the teacher gives usable answers to the first rows."""

    def __init__(self, rows: int, answers_required: bool) -> None:
        self._rows, self._answers_required = min(FIRST_ROWS, rows), answers_required
        self._unanswered: list[RowRejection] = []
        self._done = 0
        self.finished = asyncio.Event()
        """Set as soon as one of them is answered, or all are done."""

    def add(self, rejection: RowRejection | None) -> None:
        """Count a finished row and its rejection, if there is one."""
        if self.finished.is_set():
            return
        self._done += 1
        if rejection is None:
            self.finished.set()
        elif rejection.unanswered:
            self._unanswered.append(rejection)

    def error(self) -> StageError | None:
        """Why the other rows are not asked, once none of the first rows got an answer. Returned only once."""
        if self.finished.is_set() or self._done < self._rows:
            return None
        self.finished.set()
        return no_usable_answer(self._unanswered) if self._answers_required and self._unanswered else None
