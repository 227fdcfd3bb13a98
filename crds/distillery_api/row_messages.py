"""What teacher and student get for one row: what `distillery prompts` prints, as the trainer writes it."""

from __future__ import annotations

from typing import Any

from distillery_api.base import LenientModel

ChatMessages = tuple[dict[str, Any], ...]
"""Messages with role and content, as they are sent."""


class RowMessages(LenientModel):
    """The messages of one row."""

    row: int
    """Number of the row in the input, from 1, over all sources."""
    rows: int
    """Number of all rows."""
    id: str
    """The row's own ID, or its split and line."""
    split: str
    """train, validation or test."""
    teacher: ChatMessages
    """The first request to the teacher."""
    parameters: dict[str, Any]
    """The other fields of that request, such as temperature, the response format and log-probabilities."""
    samples: int = 1
    """How often the teacher is asked it (`generation.samples`); a held-out row once."""
    student: ChatMessages
    """What the student is trained on and served with, before its first answer."""
    rationale: ChatMessages = ()
    """What the student learns the teacher's reasoning under, as a second task; empty without one."""
    notes: tuple[str, ...] = ()
    """What happens otherwise than the messages say, as sentences."""
