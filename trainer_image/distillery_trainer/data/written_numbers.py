"""Numbers of a file that keep their text, because a known answer is compared as people wrote it."""

from __future__ import annotations

import math
from typing import Any


class WrittenNumber(float):
    """A number that keeps the text that people wrote: 1.0, 1e3, or more digits than a float holds."""

    text: str

    def __new__(cls, text: str) -> WrittenNumber:
        """The number that `text` writes."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def scalar_text(cell: Any) -> Any:
    """A number or a truth value as it is written, such as 72, 0.50 or true; anything else as it is."""
    if isinstance(cell, WrittenNumber):
        return cell.text
    if isinstance(cell, float) and math.isfinite(cell):
        return repr(cell)
    return str(cell).lower() if isinstance(cell, int) else cell
