"""Texts that share most of their phrases, found among a million without comparing each with each.

MinHash (Broder, 1997) over the set of three-word phrases of a text: 128 ranks, of which 16 bits each are kept, so 256
bytes a text. Two texts agree in a share of the ranks that estimates the Jaccard similarity of their sets, give or take
0.03.

Only pairs that agree in all ranks of some band are compared. A band is as long as it can be for a pair at the threshold
to be met in one of the bands with a probability of 98 %:

    threshold   bands x ranks   a pair at 0.2 below the threshold is compared with probability
    0.6         32 x 4        0.56
    0.7         25 x 5        0.55
    0.8         18 x 7        0.40
    0.9         11 x 11       0.20
    1.0          1 x 128      0.00

The digests of a band are sorted; where more than a few texts share one, as those with a common template do, each is
compared with its neighbours only, so that the work stays linear. Phrases of a template count like any other.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy
import rensa
from numpy.typing import NDArray

from distillery_trainer.text.words import words

RANKS = 128
_SEED = 1
_FOUND = 0.98
_PHRASE_WORDS = 3
_BATCH_PHRASES = 32 * 1024
_NEIGHBOURS = 16
_COMPARED_AT_ONCE = 32 * 1024
_MULTIPLIERS = numpy.random.default_rng(_SEED).integers(1 << 63, 1 << 64, RANKS, dtype=numpy.uint64) | numpy.uint64(1)

Rows = NDArray[numpy.int64]
Ranks = NDArray[numpy.uint16]
Digests = NDArray[numpy.uint64]


def phrases(text: str, context: str = "") -> list[str]:
    """The three-word phrases of a text, or all of a shorter one; upper and lower case are the same.

    Texts with different contexts have no phrase in common.
    """
    found = words(text)
    if len(found) < _PHRASE_WORDS:
        return [f"{context} {' '.join(found) or text}"]
    return [f"{context} {one} {two} {three}" for one, two, three in zip(found, found[1:], found[2:], strict=False)]


def band_length(threshold: float) -> int:
    """Ranks in a band: as many as let a pair at the threshold be met with the probability stated above."""
    lengths = range(RANKS, 0, -1)
    return next(length for length in lengths if 1 - (1 - threshold**length) ** (RANKS // length) >= _FOUND)


class Signatures:
    """The ranks of many texts, 256 bytes each."""

    def __init__(self) -> None:
        self._ranks = array("H")
        self._waiting: list[list[str]] = []
        self._waiting_phrases = 0

    def add(self, text: str, context: str) -> None:
        """Take in a text. Texts with different contexts are never alike."""
        found = phrases(text, context)
        self._waiting.append(found)
        self._waiting_phrases += len(found)
        if self._waiting_phrases >= _BATCH_PHRASES:
            self._flush()

    def matrix(self) -> Ranks:
        """All ranks, one row a text, in the order in which the texts came."""
        self._flush()
        return numpy.frombuffer(self._ranks, dtype=numpy.uint16).reshape(-1, RANKS)

    def _flush(self) -> None:
        if self._waiting:
            ranks = rensa.RMinHash.digest_matrix_from_token_sets(self._waiting, RANKS, _SEED).to_rows()
            self._ranks.frombytes(numpy.array(ranks, dtype=numpy.uint32).astype(numpy.uint16).tobytes())
        self._waiting, self._waiting_phrases = [], 0


def digests(ranks: Ranks) -> Digests:
    """One number a row, the same for the same ranks."""
    total = numpy.zeros(len(ranks), dtype=numpy.uint64)
    for column, multiplier in zip(ranks.T, _MULTIPLIERS, strict=False):
        total += column * multiplier
    return total


def alike(ranks: Ranks, rows: Rows, threshold: float) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of `rows` whose similarity is at least the threshold, as two arrays: of each pair first the row that stands
    earlier in `rows`, then the other. A pair may come more than once."""
    for one, other in _candidates(ranks, rows, band_length(threshold)):
        for start in range(0, len(one), _COMPARED_AT_ONCE):
            left, right = one[start : start + _COMPARED_AT_ONCE], other[start : start + _COMPARED_AT_ONCE]
            near = numpy.count_nonzero(ranks[left] == ranks[right], axis=1) >= threshold * RANKS
            if near.any():
                yield left[near], right[near]


def _candidates(ranks: Ranks, rows: Rows, length: int) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows that agree in a band, the earlier one first."""
    starts = range(0, RANKS - length + 1, length)
    bands = (digests(ranks[:, start : start + length])[rows] for start in [*starts[1:], starts[0]])
    band = digests(ranks[:, :length])[rows]
    for next_band in bands:
        # Where many share a band, those that share the next one, too, become neighbours.
        places = numpy.lexsort((next_band, band))
        sorted_band = band[places]
        for distance in range(1, min(_NEIGHBOURS, len(rows) - 1) + 1):
            same = sorted_band[distance:] == sorted_band[:-distance]
            if not same.any():
                break
            one, other = places[:-distance][same], places[distance:][same]
            yield rows[numpy.minimum(one, other)], rows[numpy.maximum(one, other)]
        band = next_band
