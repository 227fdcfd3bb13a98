"""Which split a row goes to, where the user leaves that to us. It is chosen by content, so that it does not depend on
the order of the rows; all rows of a group, such as those with one premise, are on the same side."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping

import numpy
from numpy.typing import NDArray

from distillery_api.reasons import Reason
from distillery_api.spec import Data
from distillery_trainer.data.records import Example
from distillery_trainer.runtime.errors import UserError

SPLITS = ("train", "validation", "test")
"""In the order in which they are read."""
_RANKS = {split: rank for rank, split in enumerate(SPLITS)}

Group = Callable[[Example], str]
"""What rows of one group have in common."""


class Splits:
    """First shown every row in order (`look`), then asked about each by its place. A byte a row is held, and while the
    rows are looked at eight more for each one that may be held out."""

    def __init__(self, data: Data, group: Group) -> None:
        share = data.validation_fraction
        self._share = None if share is None else ValidationFraction(share, group)
        self._carving = None if data.test else HeldOutSelection(group)
        self._ranks = array("B")

    @property
    def holds_out_validation_rows(self) -> bool:
        """Whether the held-out rows are taken from the validation rows."""
        return self._carving is not None

    @property
    def ranks(self) -> NDArray[numpy.uint8]:
        """Each row's split, as its place in SPLITS."""
        return numpy.frombuffer(self._ranks, dtype=numpy.uint8)

    def look(self, example: Example) -> list[str]:
        """See the next row of any source; the splits that it may go to: one, unless it may yet be held out."""
        split = "validation" if self._share and self._share.takes(example) else example.split
        self._ranks.append(_RANKS[split])
        if self._carving and split == "validation":
            self._carving.look(example)
            return ["validation", "test"]
        return [split]

    def decide(self) -> dict[str, int]:
        """Choose; the rows of each split. Raises UserError where a split would be empty."""
        if self._share:
            self._share.check(self._counts())
        if self._carving:
            ranks = self.ranks
            ranks[numpy.flatnonzero(ranks == _RANKS["validation"])[self._carving.decide()]] = _RANKS["test"]
        return self._counts()

    def of(self, place: int) -> str:
        """The split of the row at a place of the input, from 0."""
        return SPLITS[self._ranks[place]]

    def _counts(self) -> dict[str, int]:
        return {split: int(numpy.count_nonzero(self.ranks == rank)) for split, rank in _RANKS.items()}


class ValidationFraction:
    """Validation rows out of the train rows: those whose hash lies below the share of all hashes, so that a row stays
    where it is when others are added."""

    def __init__(self, share: float, group: Group) -> None:
        self._share, self._group = share, group
        self._threshold = int(share * 2**64)

    def takes(self, example: Example) -> bool:
        """Whether a train row becomes a validation row."""
        return example.split == "train" and _hash(self._group(example)) < self._threshold

    def check(self, counts: Mapping[str, int]) -> None:
        """Raise UserError where one of the two splits is empty."""
        for split, remedy in (("validation", "a larger one"), ("train", "a smaller one")):
            if not counts[split]:
                raise UserError(
                    f"data.validationFraction: {self._share:g} of {sum(counts.values()):,} train rows leaves no"
                    f" {split} row: rows about the same text stay together. Give {remedy}, or more rows.",
                    reason=Reason.INVALID_DATA,
                )


class HeldOutSelection:
    """Held-out rows out of the validation rows, half of them: first shown all of those (`look`), then decides."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._hashes = array("Q")

    def look(self, example: Example) -> None:
        """See the next validation row."""
        self._hashes.append(_hash(self._group(example)))

    def decide(self) -> NDArray[numpy.bool_]:
        """Whether each row is held out, in the order they were shown in. Raises UserError where there is one group."""
        hashes = numpy.frombuffer(self._hashes, dtype=numpy.uint64)
        self._hashes = array("Q")
        groups, counts = numpy.unique(hashes, return_counts=True)
        if len(groups) < 2:
            raise UserError(
                "data.test is not given, and the validation rows cannot be split in two: they are all about the same"
                " text. Give data.test, or more validation rows.",
                reason=Reason.INVALID_DATA,
            )
        rows_up_to = counts.cumsum()
        last = min(int(numpy.searchsorted(rows_up_to, rows_up_to[-1] / 2)), len(groups) - 2)
        held_out: NDArray[numpy.bool_] = hashes <= groups[last]
        return held_out


def _hash(text: str) -> int:
    """A number from 0 to 2^64 - 1, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
