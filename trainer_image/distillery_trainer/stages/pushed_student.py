"""Where the publish stage has pushed a student to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PushedStudent:
    """The student in one place."""

    reference: str
    """What it is known by there, which never means another student."""
    uploaded: str
    """How much was uploaded, for people."""
