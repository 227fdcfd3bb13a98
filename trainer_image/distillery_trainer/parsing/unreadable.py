"""A reply without one clear answer: where a parser would have to guess, it says so instead."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.rejection_reasons import RejectionReason


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply without one clear answer."""

    reason: RejectionReason
    """One word for programs, such as empty, bad_json or label_not_allowed."""
    message: str
    """A sentence for people."""
