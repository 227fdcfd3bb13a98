"""Which split a row goes to if the user leaves the choice to us. The choice depends on the content, not on the order of
the rows; all rows of a group, such as those with the same premise, go to the same split."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping

import numpy
from numpy.typing import NDArray

from distillery_api.reasons import Reason
from distillery_api.spec import Data
from distillery_trainer.data.rows import Row
from distillery_trainer.runtime.errors import UserError

SPLITS = ("train", "validation", "test")
"""In the order in which their sources are read."""
_SPLIT_NUMBERS = {split: number for number, split in enumerate(SPLITS)}

Group = Callable[[Row], str]
"""The text that all rows of one group have in common."""


class Splits:
    """The split of every row: `add` all rows in order, then `choose`, then ask for each by its index.

    Memory: one byte per row, and until `choose` eight more for each row that may be held out.
    """

    def __init__(self, data: Data, group: Group) -> None:
        share = data.validation_fraction
        self._validation_fraction = None if share is None else ValidationFraction(share, group)
        self._held_out_selection = None if data.test else HeldOutSelection(group)
        self._split_numbers = array("B")

    @property
    def holds_out_validation_rows(self) -> bool:
        """Whether the held-out rows are taken from the validation rows."""
        return self._held_out_selection is not None

    @property
    def split_numbers(self) -> NDArray[numpy.uint8]:
        """Each row's split, as its position in SPLITS."""
        return numpy.frombuffer(self._split_numbers, dtype=numpy.uint8)

    def add(self, row: Row) -> list[str]:
        """Add the next row of any source. Returns the splits that it may go to: one, unless it may still be held
        out."""
        becomes_validation = self._validation_fraction and self._validation_fraction.takes(row)
        split = "validation" if becomes_validation else row.split
        self._split_numbers.append(_SPLIT_NUMBERS[split])
        if self._held_out_selection and split == "validation":
            self._held_out_selection.add(row)
            return ["validation", "test"]
        return [split]

    def choose(self) -> dict[str, int]:
        """Choose the split of every row. Returns the number of rows by split. Raises UserError if one would be
        empty."""
        if self._validation_fraction:
            self._validation_fraction.check(self._counts())
        if self._held_out_selection:
            validation_rows = numpy.flatnonzero(self.split_numbers == _SPLIT_NUMBERS["validation"])
            self.split_numbers[validation_rows[self._held_out_selection.choose()]] = _SPLIT_NUMBERS["test"]
        return self._counts()

    def of(self, index: int) -> str:
        """The split of the row with this index."""
        return SPLITS[self._split_numbers[index]]

    def _counts(self) -> dict[str, int]:
        return {
            split: int(numpy.count_nonzero(self.split_numbers == number)) for split, number in _SPLIT_NUMBERS.items()
        }


class ValidationFraction:
    """Takes validation rows from the train rows: those whose hash is below the given share of all hashes, so that a row
    stays in its split when others are added."""

    def __init__(self, share: float, group: Group) -> None:
        self._share, self._group = share, group
        self._threshold = int(share * 2**64)

    def takes(self, row: Row) -> bool:
        """Whether a train row becomes a validation row."""
        return row.split == "train" and _hash(self._group(row)) < self._threshold

    def check(self, counts: Mapping[str, int]) -> None:
        """Raise UserError if one of the two splits is empty."""
        for split, remedy in (("validation", "Increase it"), ("train", "Reduce it")):
            if not counts[split]:
                raise UserError(
                    f"data.validationFraction: {self._share:g} of {sum(counts.values()):,} train rows leaves no"
                    f" {split} rows, because rows about the same text stay in the same split. {remedy}, or provide more"
                    " rows.",
                    reason=Reason.INVALID_DATA,
                )


class HeldOutSelection:
    """Takes half of the validation rows as held-out rows: `add` all of them, then `choose`."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._hashes = array("Q")

    def add(self, row: Row) -> None:
        """Add the next validation row."""
        self._hashes.append(_hash(self._group(row)))

    def choose(self) -> NDArray[numpy.bool_]:
        """Whether each row is held out, in the order in which they were added. Raises UserError if there is only one
        group."""
        hashes = numpy.frombuffer(self._hashes, dtype=numpy.uint64)
        self._hashes = array("Q")
        groups, counts = numpy.unique(hashes, return_counts=True)
        if len(groups) < 2:
            raise UserError(
                f"data.test is not set, and the {len(hashes):,} validation rows cannot be split in two because they are"
                " all about the same text. Set data.test, or provide more validation rows.",
                reason=Reason.INVALID_DATA,
            )
        rows_up_to = counts.cumsum()
        last = min(int(numpy.searchsorted(rows_up_to, rows_up_to[-1] / 2)), len(groups) - 2)
        held_out: NDArray[numpy.bool_] = hashes <= groups[last]
        return held_out


def _hash(text: str) -> int:
    """A number from 0 to 2^64 - 1, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
