"""Rows that are not worth asking, found before anything is paid: they ask what another row asks.

Of rows that ask the same, a test row stands before a validation row, that before a train row, and within a split an
earlier row before a later one. Whoever stands behind goes: as a duplicate of a row of its own split, or as a leak of
another one's: SPLITS names first the split whose rows go first, and last the one whose rows never go. 12 bytes a row
are held, and 256 more where near ones are looked for.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator

import numpy
from numpy.typing import NDArray

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.spec import History, Likeness
from distillery_trainer.data.records import Example, Rejection
from distillery_trainer.data.splits import SPLITS
from distillery_trainer.filters import minhash

Ranks = NDArray[numpy.uint8]

_NOBODY = -1


class Deduplication:
    """First shown every row, then asked about each."""

    def __init__(self, config: RunConfig) -> None:
        generation = config.generation
        self._filters = generation.filters
        self._uses_own_system = generation.prompts.student is None
        self._asks_every_turn = generation.history is not History.ORIGINAL
        self._digests, self._lines = array("Q"), array("I")
        self._ranks: Ranks = numpy.empty(0, dtype=numpy.uint8)
        levels = (self._filters.duplicates, self._filters.leakage)
        self._signatures = minhash.Signatures() if Likeness.NEAR in levels else None
        self._twins: NDArray[numpy.int64] = numpy.empty(0, dtype=numpy.int64)
        self.rejected: dict[str, Counter[str]] = {}
        """Rows that are not worth asking, by split and reason."""

    # --- looking

    def look(self, example: Example) -> None:
        """See the next row of the input."""
        system = (example.system or "") if self._uses_own_system else ""
        turns = list(self._turns(example))
        self._digests.append(_digest([system, *turns]))
        self._lines.append(example.line)
        if self._signatures:
            # A long system message that all rows have would make all of them alike.
            self._signatures.add("\n".join(turns), context=f"{_digest([system]):x}")

    def _turns(self, example: Example) -> Iterator[str]:
        """What is said, save the system message, and save the replies that the teacher gives anew."""
        anew = self._asks_every_turn and not example.keeps_replies
        said = ("user",) if anew else ("user", "assistant")
        return (message["content"] for message in example.messages if message["role"] in said)

    # --- deciding

    def decide(self, ranks: Ranks) -> None:
        """Find the rows that are not worth asking, now that the split of each is known, as its place in SPLITS.

        Raises ValueError unless as many rows were shown.
        """
        if len(ranks) != len(self._digests):
            raise ValueError(f"{len(self._digests)} rows were shown, and {len(ranks)} have a split")
        self._ranks = ranks
        # Whoever stands later in this order goes.
        order = numpy.argsort(len(SPLITS) - ranks, kind="stable")
        copies, leaks = self._exact(ranks, order)
        if self._signatures:
            near_copies, near_leaks = self._near(self._signatures.matrix(), ranks, order)
            copies, leaks = _either(copies, near_copies), _either(leaks, near_leaks)
            self._signatures = None
        self._twins = _either(leaks, copies)
        self._twins[ranks == SPLITS.index("test")] = _NOBODY
        self._count(ranks)

    def _exact(self, ranks: Ranks, order: minhash.Rows) -> tuple[minhash.Rows, minhash.Rows]:
        """For each row the one that it copies, and the one of another split that it gives away."""
        digests = numpy.frombuffer(self._digests, dtype=numpy.uint64)
        nobody = numpy.full(len(ranks), _NOBODY)
        wants_copies = self._filters.duplicates is not Likeness.NONE
        copies = _first_of_its_kind(digests + ranks, order) if wants_copies else nobody
        if self._filters.leakage is Likeness.NONE:
            return copies, nobody
        first = _first_of_its_kind(digests, order)
        return copies, numpy.where(ranks[first] != ranks, first, _NOBODY)

    def _near(self, signatures: minhash.Ranks, ranks: Ranks, order: minhash.Rows) -> tuple[minhash.Rows, minhash.Rows]:
        """The same for rows that share most of their phrases."""
        # Rows of a split with the same phrases go together: the first one speaks for all.
        speakers = _first_of_its_kind(minhash.digests(signatures) + ranks, order)
        copies, leaks = speakers.copy(), numpy.full(len(ranks), _NOBODY)
        alone = order[speakers[order] == _NOBODY]
        for earlier, later in minhash.alike(signatures, alone, self._filters.near_threshold):
            same_split = ranks[earlier] == ranks[later]
            copies[later[same_split]] = earlier[same_split]
            leaks[later[~same_split]] = earlier[~same_split]
        leaks = numpy.where(speakers == _NOBODY, leaks, leaks[speakers])
        nobody = numpy.full(len(ranks), _NOBODY)
        return (
            copies if self._filters.duplicates is Likeness.NEAR else nobody,
            leaks if self._filters.leakage is Likeness.NEAR else nobody,
        )

    def _count(self, ranks: Ranks) -> None:
        gone = self._twins != _NOBODY
        same_split = ranks[self._twins] == ranks
        for rank, split in enumerate(SPLITS[:-1]):
            counts = {
                RejectionReason.DUPLICATE: int(numpy.count_nonzero(gone & same_split & (ranks == rank))),
                RejectionReason.LEAKS_INTO_TEST: int(numpy.count_nonzero(gone & ~same_split & (ranks == rank))),
            }
            self.rejected[split] = Counter({reason: count for reason, count in counts.items() if count})

    # --- telling

    def verdict(self, place: int) -> Rejection | None:
        """Why the row at `place` is not worth asking; None for a row that is, or where nothing was looked for."""
        if not len(self._twins) or (twin := int(self._twins[place])) == _NOBODY:
            return None
        reason = (
            RejectionReason.DUPLICATE if self._ranks[twin] == self._ranks[place] else RejectionReason.LEAKS_INTO_TEST
        )
        likeness = "the same as" if self._digests[twin] == self._digests[place] else "nearly the same as"
        where = f"line {self._lines[twin]:,} of the {SPLITS[self._ranks[twin]]} rows"
        return Rejection(reason, f"The row asks {likeness} {where}.")


def _digest(texts: list[str]) -> int:
    """64 bits of the texts; white space and upper and lower case are the same."""
    normal = " ".join(" \0 ".join(texts).casefold().split())
    return int.from_bytes(hashlib.blake2b(normal.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def _first_of_its_kind(keys: minhash.Digests, order: minhash.Rows) -> minhash.Rows:
    """For each row the first one, in this order, with its key; nobody for that one itself."""
    _, first, kind = numpy.unique(keys[order], return_index=True, return_inverse=True)
    found = numpy.empty(len(keys), dtype=numpy.int64)
    found[order] = order[first[kind]]
    return numpy.where(found == numpy.arange(len(keys)), _NOBODY, found)


def _either(preferred: minhash.Rows, other: minhash.Rows) -> minhash.Rows:
    return numpy.where(preferred == _NOBODY, other, preferred)
