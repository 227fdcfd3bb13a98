"""How texts and amounts are shortened for people."""

from __future__ import annotations

import math


def shortened(text: str, limit: int) -> str:
    """`text`, cut to at most `limit` UTF-8 bytes with an ellipsis where it was longer."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"


def format_cost(amount: float) -> str:
    """An amount with two decimals, small ones with as many as it takes to show two digits."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.{max(2, 1 - math.floor(math.log10(amount)))}f}"
