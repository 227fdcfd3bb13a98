"""Duplicates and leaks: rows that ask what another row asks, found before any of them is paid for.

Of rows that ask the same, a test row takes precedence over a validation row, that over a train row, and within a split
an earlier row over a later one. The other rows are rejected: as duplicates if the preferred row, the original, is in
their own split, as leaks if it is in another. Test rows are never rejected. Memory: 12 bytes per row, and 256 more for
near-duplicates.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator

import numpy
import orjson
from numpy.typing import NDArray

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.spec import DuplicateMatching, History
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.data.rows import Rejection, Row
from distillery_trainer.data.splits import SPLITS
from distillery_trainer.data.tool_messages import text_of
from distillery_trainer.filters import minhash

SplitNumbers = NDArray[numpy.uint8]
"""The split of each row, as its position in SPLITS."""

_NONE = -1
"""In place of a row's index."""


class Deduplication:
    """`add` every row in order, then `resolve`, then ask for the rejection of each by its index."""

    def __init__(self, config: RunConfig) -> None:
        generation = config.generation
        self._filters = generation.filters
        self._uses_own_system = generation.prompts.student is None and generation.prompts.instructions is None
        self._asks_every_turn = generation.history is not History.ORIGINAL
        self._digests, self._lines = array("Q"), array("I")
        self._splits: SplitNumbers = numpy.empty(0, dtype=numpy.uint8)
        levels = (self._filters.duplicates, self._filters.leakage)
        self._signatures = minhash.SignatureBuilder() if DuplicateMatching.NEAR in levels else None
        self._originals: minhash.Indexes = numpy.empty(0, dtype=numpy.int64)
        self.rejected: dict[str, Counter[str]] = {}
        """Number of duplicates and leaks by split and rejection reason."""

    # --- adding

    def add(self, row: Row) -> None:
        """Add the next row of the input."""
        system = (row.system or "") if self._uses_own_system else ""
        if row.tools:
            system += orjson.dumps(row.tools).decode()
        turns = list(self._turns(row))
        pictures = pictures_of(row.messages)
        self._digests.append(_digest([system, *turns, *pictures]))
        self._lines.append(row.line)
        if self._signatures:
            # A long system message that all rows share would make all of them similar. Rows that show other pictures
            # are not alike, whatever their texts are.
            context = _digest([system, *pictures])
            self._signatures.add("\n".join(turns), context=f"{context:x}")

    def _turns(self, row: Row) -> Iterator[str]:
        """All messages but the system message, and but the replies that the teacher replaces."""
        if row.tools:  # what was called before, and with which results, is part of the question
            return (text_of(message) for message in row.messages if message["role"] != "system")
        replaced = self._asks_every_turn and not row.keeps_existing_replies
        roles = ("user",) if replaced else ("user", "assistant")
        return (message["content"] for message in row.messages if message["role"] in roles)

    # --- resolving

    def resolve(self, splits: SplitNumbers) -> None:
        """Find duplicates and leaks, now that the split of every row is known.

        Raises ValueError unless there is a split for every row.
        """
        if len(splits) != len(self._digests):
            raise ValueError(f"{len(self._digests)} rows were added, but {len(splits)} have a split")
        self._splits = splits
        # By descending precedence: of rows that ask the same, the first one is the original.
        order = numpy.argsort(len(SPLITS) - splits, kind="stable")
        duplicates, leaks = self._exact(splits, order)
        if self._signatures:
            near_duplicates, near_leaks = self._near(self._signatures.matrix(), splits, order)
            duplicates, leaks = _either(duplicates, near_duplicates), _either(leaks, near_leaks)
            self._signatures = None
        self._originals = _either(leaks, duplicates)
        self._originals[splits == SPLITS.index("test")] = _NONE
        self._count(splits)

    def _exact(self, splits: SplitNumbers, order: minhash.Indexes) -> tuple[minhash.Indexes, minhash.Indexes]:
        """For each row the original in its own split, and the one in another split."""
        digests = numpy.frombuffer(self._digests, dtype=numpy.uint64)
        none = numpy.full(len(splits), _NONE)
        finds_duplicates = self._filters.duplicates is not DuplicateMatching.NONE
        duplicates = _first_with_same_key(digests + splits, order) if finds_duplicates else none
        if self._filters.leakage is DuplicateMatching.NONE:
            return duplicates, none
        first = _first_with_same_key(digests, order)
        return duplicates, numpy.where(splits[first] != splits, first, _NONE)

    def _near(
        self, signatures: minhash.Signatures, splits: SplitNumbers, order: minhash.Indexes
    ) -> tuple[minhash.Indexes, minhash.Indexes]:
        """The same for rows that share most of their phrases."""
        # Rows of a split with equal signatures form a group, which its first row represents.
        representatives = _first_with_same_key(minhash.digests(signatures) + splits, order)
        duplicates, leaks = representatives.copy(), numpy.full(len(splits), _NONE)
        distinct = order[representatives[order] == _NONE]
        for earlier, later in minhash.similar_pairs(signatures, distinct, self._filters.near_threshold):
            same_split = splits[earlier] == splits[later]
            duplicates[later[same_split]] = earlier[same_split]
            leaks[later[~same_split]] = earlier[~same_split]
        leaks = numpy.where(representatives == _NONE, leaks, leaks[representatives])
        none = numpy.full(len(splits), _NONE)
        return (
            duplicates if self._filters.duplicates is DuplicateMatching.NEAR else none,
            leaks if self._filters.leakage is DuplicateMatching.NEAR else none,
        )

    def _count(self, splits: SplitNumbers) -> None:
        is_rejected = self._originals != _NONE
        same_split = splits[self._originals] == splits
        for number, split in enumerate(SPLITS[:-1]):
            in_split = is_rejected & (splits == number)
            counts = {
                RejectionReason.DUPLICATE: int(numpy.count_nonzero(in_split & same_split)),
                RejectionReason.LEAKS_INTO_TEST: int(numpy.count_nonzero(in_split & ~same_split)),
            }
            self.rejected[split] = Counter({reason: count for reason, count in counts.items() if count})

    # --- asking

    def rejection(self, index: int) -> Rejection | None:
        """Why the row with this index is a duplicate or a leak; None for any other row, and before `resolve`."""
        if not len(self._originals) or (original := int(self._originals[index])) == _NONE:
            return None
        is_duplicate = self._splits[original] == self._splits[index]
        reason = RejectionReason.DUPLICATE if is_duplicate else RejectionReason.LEAKS_INTO_TEST
        likeness = "the same as" if self._digests[original] == self._digests[index] else "nearly the same as"
        location = f"line {self._lines[original]:,} of the {SPLITS[self._splits[original]]} rows"
        return Rejection(reason, f"The row asks {likeness} {location}.")


def _digest(texts: list[str]) -> int:
    """64 bits of the texts; case and white space do not matter."""
    normal = " ".join(" \0 ".join(texts).casefold().split())
    return int.from_bytes(hashlib.blake2b(normal.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def _first_with_same_key(keys: minhash.Digests, order: minhash.Indexes) -> minhash.Indexes:
    """For each row the first one, in this order, with the same key; _NONE for that first one itself."""
    _, first, group = numpy.unique(keys[order], return_index=True, return_inverse=True)
    found = numpy.empty(len(keys), dtype=numpy.int64)
    found[order] = order[first[group]]
    return numpy.where(found == numpy.arange(len(keys)), _NONE, found)


def _either(preferred: minhash.Indexes, other: minhash.Indexes) -> minhash.Indexes:
    return numpy.where(preferred == _NONE, other, preferred)
