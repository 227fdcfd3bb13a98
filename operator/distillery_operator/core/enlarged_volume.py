"""A stage that found its volume full goes on once the volume is larger."""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_api.status import StageStatus
from distillery_operator.core.observation import ObservedClaim
from distillery_operator.manifests.quantities import amount


def capacity(claim: ObservedClaim | None) -> str | None:
    """How large the claim's volume is, as a quantity."""
    status = claim.manifest.get("status") or {} if claim else {}
    found = (status.get("capacity") or {}).get("storage")
    return str(found) if found else None


def volume_has_grown(record: StageStatus, claim: ObservedClaim | None) -> bool:
    """Whether the volume is larger than the one that the stage found full."""
    if record.reason != Reason.STORAGE_FULL:
        return False
    before, now = amount(record.full_capacity), amount(capacity(claim))
    return before is not None and now is not None and now > before
