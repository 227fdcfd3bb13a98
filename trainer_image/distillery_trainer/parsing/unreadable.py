"""A reply without one clear answer: what a parser returns where it would have to guess."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.rejection_reasons import RejectionReason


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a reply has no clear answer."""

    reason: RejectionReason
    """One word for programs, such as empty, bad_json or label_not_allowed."""
    message: str
    """A sentence for people, and for the teacher when it is asked again. Changing it changes that prompt, and so the
    key under which a paid reply is found in the journal."""
