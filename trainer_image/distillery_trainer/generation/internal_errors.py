"""Rows at which this software fails: each is rejected by itself, as `internal_error`."""

from __future__ import annotations

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.chat.budget import BudgetExhausted
from distillery_trainer.chat.chat_client import Stopping
from distillery_trainer.data.rows import Rejection
from distillery_trainer.runtime import row_errors

ENDS_STAGE = (*row_errors.ENDS_STAGE, BudgetExhausted, Stopping)
"""What is not about a row: it ends the stage."""


class InternalErrors:
    """The rejections of such rows."""

    def __init__(self) -> None:
        self._errors = row_errors.RowErrors()

    def rejection(self, row_id: str, error: Exception) -> Rejection:
        """Log an exception; the rejection of its row."""
        return Rejection(RejectionReason.INTERNAL_ERROR, self._errors.message(row_id, error))
