"""A problem: a reason for programs, and a message for people."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.reasons import Reason
from distillery_api.status import Refusal

STAGE_MESSAGE_LIMIT = 1000
"""Bytes of a stage's message in the status."""


@dataclass(frozen=True)
class Problem:
    """What holds, blocks or failed something. `reason` is None where only the stage decides which reason to give."""

    reason: Reason | None
    message: str


def name_conflict(kind: str, name: str) -> Problem:
    """An object with one of our names that belongs to something else."""
    return Problem(
        Reason.NAME_CONFLICT,
        f"the {kind} {name} already exists and belongs to something else; delete it, or choose another metadata.name",
    )


def known_reason(text: str | None, otherwise: Reason) -> Reason:
    """The reason that a status gives; `otherwise` for one of a later release."""
    return Reason(text) if text in tuple(Reason) else otherwise


def refusal_problem(refusal: Refusal) -> Problem:
    """What the API server refuses, in its words."""
    reason = known_reason(refusal.reason, Reason.POD_REFUSED)
    action = f"{refusal.verb} the {refusal.kind} {refusal.name}"
    return Problem(reason, f"the API server refuses to {action}: {refusal.message}")
