"""Drift: an object of the API server lacks something that its manifest says. Drift is repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from distillery_operator.core.observation import Ownership, SeenDeployment, SeenService
from distillery_operator.manifests.child_metadata import Manifest


def includes(seen: Any, expected: Any) -> bool:
    """Whether a value of the API server has all that the expected one says; the server adds defaults, and may write
    quantities in another way."""
    if seen is None and not expected:
        return True  # The server omits what is empty or false.
    if isinstance(expected, Mapping):
        return isinstance(seen, Mapping) and all(includes(seen.get(key), value) for key, value in expected.items())
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        comparable = isinstance(seen, Sequence) and not isinstance(seen, str) and len(seen) == len(expected)
        return comparable and all(map(includes, seen, expected))
    return bool(seen == expected) or _same_quantity(seen, expected)


def has_drifted(manifest: Manifest, child: SeenDeployment | SeenService | None) -> bool:
    """Whether an object of ours does not exist, or lacks something that its manifest says."""
    if child is None:
        return True
    return child.ownership is Ownership.OURS and not includes(child.manifest, manifest)


def _same_quantity(seen: Any, expected: Any) -> bool:
    first, second = _amount(seen), _amount(expected)
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
