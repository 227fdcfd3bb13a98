"""Why a row is rejected."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.records import Rejection


@dataclass(frozen=True, slots=True)
class RowRejection:
    """A row that is not kept."""

    rejection: Rejection
    unanswered: bool = False
    """Whether the teacher gave no whole, readable and allowed answer; that counts against minSuccessRatio."""
    failure: Failure | None = None
    """The failed call, where there was one."""
    reply: Reply | None = None
    """The teacher's last reply, where there was one."""
