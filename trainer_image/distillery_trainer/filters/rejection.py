"""Why a row is rejected."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.rows import Preference, Rejection


@dataclass(frozen=True, slots=True)
class RowRejection:
    """Why a row is rejected, and what was received for it."""

    rejection: Rejection
    unanswered: bool = False
    """Whether the teacher gave no complete, readable and allowed answer; this counts against minSuccessRatio."""
    failure: Failure | None = None
    """The failed request, if there was one."""
    reply: Reply | None = None
    """The teacher's last reply, if there was one."""
    preference: Preference | None = None
    """What the row teaches all the same, where it disagrees with its gold."""

    @property
    def transient(self) -> bool:
        """Whether a later run may keep the row, since a request failed for a cause that may pass."""
        return self.rejection.transient or (self.failure is not None and self.failure.transient)
