"""Numbers of a file that keep their text, because a known answer is compared as people wrote it."""

from __future__ import annotations


class WrittenNumber(float):
    """A number that keeps the text that people wrote: 1.0, 1e3, or more digits than a float holds."""

    text: str

    def __new__(cls, text: str) -> WrittenNumber:
        """The number that `text` writes."""
        number = super().__new__(cls, text)
        number.text = text
        return number
