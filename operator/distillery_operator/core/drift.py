"""Does an object of the API server still have all that its manifest says? What differs is drift, and is repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from distillery_operator.core.observation import Ownership, SeenDeployment, SeenService
from distillery_operator.manifests.child_metadata import Manifest


def includes(seen: Any, wanted: Any) -> bool:
    """Whether an object of the API server has all that a manifest says; the server adds defaults, and writes quantities
    in its own way."""
    if seen is None and not wanted:
        return True  # The server leaves out what is empty or false.
    if isinstance(wanted, Mapping):
        return isinstance(seen, Mapping) and all(includes(seen.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        alike = isinstance(seen, Sequence) and not isinstance(seen, str) and len(seen) == len(wanted)
        return alike and all(map(includes, seen, wanted))
    return bool(seen == wanted) or _same_quantity(seen, wanted)


def has_drifted(manifest: Manifest, there: SeenDeployment | SeenService | None) -> bool:
    """Whether an object of ours is missing, or lacks something that its manifest says."""
    if there is None:
        return True
    return there.ownership is Ownership.OURS and not includes(there.manifest, manifest)


def _same_quantity(seen: Any, wanted: Any) -> bool:
    first, second = _amount(seen), _amount(wanted)
    return first is not None and first == second


_UNITS = {"m": Decimal("0.001"), "": Decimal(1)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}


def _amount(value: Any) -> Decimal | None:
    text = str(value)
    number = text.rstrip("mkKMGTPEi")
    try:
        return Decimal(number) * _UNITS[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return None
