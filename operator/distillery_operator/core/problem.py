"""A problem with a reason for programs and a message for people."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.reasons import Reason


@dataclass(frozen=True)
class Problem:
    """What went wrong. `reason` is None where only the stage's kind says which reason to give."""

    reason: Reason | None
    message: str
