"""A workspace claim that gets no volume. A claim that waits for its first Pod is none of these."""

from __future__ import annotations

import re
from collections.abc import Iterable

from distillery_api.formatting import cleaned
from distillery_api.reasons import Reason
from distillery_operator.core.observation import Raw
from distillery_operator.core.problem import Problem

_FAILURES = ("ProvisioningFailed", "FailedBinding", "ClaimMisbound", "VolumeMismatch")
_MISSING = re.compile(r'storageclass[.a-z0-9]* "[^"]*" not found|no storage class is set')
_MESSAGE_LIMIT = 600


def is_unbound(claim: Raw | None) -> bool:
    """Whether the claim has no volume yet."""
    return claim is not None and (claim.get("status") or {}).get("phase") == "Pending"


def claim_problem(claim: Raw | None, events: Iterable[Raw]) -> Problem | None:
    """Why the claim has no volume; None where it has one, or nothing is wrong."""
    if claim is None or not is_unbound(claim):
        return None
    name = claim["metadata"]["name"]
    failures = [
        cleaned(event.get("message") or event["reason"], _MESSAGE_LIMIT)
        for event in events
        if event["involvedObject"].get("name") == name and event.get("reason") in _FAILURES
    ]
    return _problem(claim, failures[-1]) if failures else None


def _problem(claim: Raw, failure: str) -> Problem:
    missing = _MISSING.search(failure) is not None
    remedy = "; create the storage class, or make one the default" if missing else ""
    reason = Reason.CONFIGURATION_MISSING if missing else Reason.VOLUME_UNAVAILABLE
    return Problem(reason, f"the claim {claim['metadata']['name']} gets no volume: {failure}{remedy}")
