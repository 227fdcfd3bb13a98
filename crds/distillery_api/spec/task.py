"""The tasks that a student can learn."""

from __future__ import annotations

from enum import StrEnum

NLI_LABELS = ("entailment", "neutral", "contradiction")


class Task(StrEnum):
    """The task that the student learns."""

    NLI = "NLI"
