"""How far the enlargement of the workspace volume is, in words."""

from __future__ import annotations

from distillery_api.formatting import shortened
from distillery_operator.core.observation import ObservedClaim
from distillery_operator.manifests.quantities import amount

_MESSAGE_LIMIT = 1000
_FAILED = ("ControllerResizeError", "NodeResizeError")


def resize_message(claim: ObservedClaim | None) -> str | None:
    """What an enlargement waits for; None where the volume has the size that the claim asks for."""
    if claim is None:
        return None
    capacity, requested = amount(claim.capacity), amount(claim.requested)
    if capacity is None or requested is None or capacity >= requested:
        return None
    sizes = f"the volume has {claim.capacity} of {claim.requested}"
    failure = next((claim.conditions[kind] for kind in _FAILED if kind in claim.conditions), None)
    if failure is not None:
        return shortened(f"{sizes}; it cannot be enlarged now: {failure}", _MESSAGE_LIMIT)
    if "FileSystemResizePending" in claim.conditions:
        return f"{sizes}; its file system grows when the next Pod mounts it: restart the server if no stage is due"
    return f"{sizes}; it is being enlarged"
