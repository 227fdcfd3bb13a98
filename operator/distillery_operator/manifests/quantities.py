"""Kubernetes' quantities, such as 500m or 4Gi, as numbers."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

_UNITS = {"m": Decimal("0.001"), "": Decimal(1)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}


def amount(value: Any) -> Decimal | None:
    """The number that a quantity stands for; None where it is none."""
    text = str(value)
    number = text.rstrip("mkKMGTPEi")
    try:
        return Decimal(number) * _UNITS[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return None
