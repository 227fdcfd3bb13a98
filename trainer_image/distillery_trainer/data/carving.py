"""Held-out rows where the user gives none: half of the validation rows, chosen by content, so that the choice does not
depend on their order; all rows of a group, such as those with one premise, on the same side."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable

import numpy

from distillery_api.result import Reason
from distillery_trainer.errors import UserError
from distillery_trainer.records import Example


class Carving:
    """First shown every validation row (`look`), then asked about each (`takes`)."""

    def __init__(self, group: Callable[[Example], str]) -> None:
        self._group = group
        self._hashes = array("Q")
        self._threshold = 0

    def look(self, example: Example) -> None:
        """See a row of any split."""
        if example.split == "validation":
            self._hashes.append(self._hash(example))

    def decide(self) -> int:
        """Choose the groups; the number of rows that are taken. Raises UserError where there is only one group."""
        groups, counts = numpy.unique(numpy.frombuffer(self._hashes, dtype=numpy.uint64), return_counts=True)
        if len(groups) < 2:
            raise UserError(
                "data.test is not given, and the validation rows cannot be split in two: they are all about the same"
                " text. Give data.test, or more validation rows.",
                reason=Reason.INVALID_DATA,
            )
        taken = counts.cumsum()
        last = min(int(numpy.searchsorted(taken, taken[-1] / 2)), len(groups) - 2)
        self._threshold = int(groups[last + 1])
        self._hashes = array("Q")
        return int(taken[last])

    def takes(self, example: Example) -> bool:
        """Whether a row is held out."""
        return example.split == "validation" and self._hash(example) < self._threshold

    def _hash(self, example: Example) -> int:
        return int.from_bytes(hashlib.blake2b(self._group(example).encode(), digest_size=8).digest(), "big")
