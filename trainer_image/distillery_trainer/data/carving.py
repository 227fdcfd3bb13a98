"""Which split a row goes to, where the user leaves that to us. It is chosen by content, so that it does not depend on
the order of the rows; all rows of a group, such as those with one premise, are on the same side."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy

from distillery_api.result import Reason
from distillery_api.spec import Data
from distillery_trainer.errors import UserError
from distillery_trainer.records import Example

Group = Callable[[Example], str]
"""What rows of one group have in common."""


class Splits:
    """First shown every row (`look`), then asked about each (`of`)."""

    def __init__(self, data: Data, group: Group) -> None:
        share = data.validation_fraction
        self._share = None if share is None else ValidationShare(share, group)
        self._carving = None if data.test else Carving(group)
        self._counts: Counter[str] = Counter()

    @property
    def carves(self) -> bool:
        """Whether the held-out rows are taken from the validation rows."""
        return self._carving is not None

    def look(self, example: Example) -> None:
        """See a row of any source."""
        example = self._shared_out(example)
        self._counts[example.split] += 1
        if self._carving:
            self._carving.look(example)

    def decide(self) -> dict[str, int]:
        """Choose; the rows of each split. Raises UserError where a split would be empty."""
        if self._share:
            self._share.check(self._counts)
        if self._carving:
            taken = self._carving.decide()
            self._counts.update(test=taken, validation=-taken)
        return {split: self._counts[split] for split in ("train", "validation", "test")}

    def of(self, example: Example) -> str:
        """The split that a row goes to."""
        example = self._shared_out(example)
        return "test" if self._carving and self._carving.takes(example) else example.split

    def _shared_out(self, example: Example) -> Example:
        if self._share and self._share.takes(example):
            return replace(example, split="validation")
        return example


class ValidationShare:
    """Validation rows out of the train rows: those whose hash lies below the share of all hashes, so that a row stays
    where it is when others are added."""

    def __init__(self, share: float, group: Group) -> None:
        self._share, self._group = share, group
        self._threshold = int(share * 2**64)

    def takes(self, example: Example) -> bool:
        """Whether a train row becomes a validation row."""
        return example.split == "train" and _hash(self._group(example)) < self._threshold

    def check(self, counts: Counter[str]) -> None:
        """Raise UserError where one of the two splits is empty."""
        for split, remedy in (("validation", "a larger one"), ("train", "a smaller one")):
            if not counts[split]:
                raise UserError(
                    f"data.validationFraction: {self._share:g} of {counts.total():,} train rows leaves no {split} row:"
                    f" rows about the same text stay together. Give {remedy}, or more rows.",
                    reason=Reason.INVALID_DATA,
                )


class Carving:
    """Held-out rows out of the validation rows, half of them: first shown every row (`look`), then asked about each."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._hashes = array("Q")
        self._threshold = 0

    def look(self, example: Example) -> None:
        """See a row of any split."""
        if example.split == "validation":
            self._hashes.append(_hash(self._group(example)))

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
        return example.split == "validation" and _hash(self._group(example)) < self._threshold


def _hash(text: str) -> int:
    """A number from 0 to 2^64 - 1, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
