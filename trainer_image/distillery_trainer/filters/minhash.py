"""Near-duplicates: texts that share most of their phrases, found among a million without comparing all pairs.

MinHash (Broder, 1997) over the set of three-word phrases of a text: a signature of 128 hash values, of which 16 bits
each are kept, so 256 bytes per text. The share of values in which two signatures agree estimates the Jaccard similarity
of the two sets, with a standard error of 0.03.

Only pairs that agree in all values of some band are compared (locality-sensitive hashing). A band is as long as it can
be for a pair at the threshold to agree in one of the bands with a probability of 98 %:

    threshold   bands x values   probability that a pair at 0.2 below the threshold is compared
    0.6         32 x 4           0.56
    0.7         25 x 5           0.55
    0.8         18 x 7           0.40
    0.9         11 x 11          0.20
    1.0          1 x 128         0.00

The digests of a band are sorted. If many texts share one, as texts with a common template do, each is compared with its
neighbours only, so that the time stays linear. Phrases of a template count like all others.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy
import rensa
from numpy.typing import NDArray

from distillery_trainer.text.words import words

SIGNATURE_LENGTH = 128
"""Hash values in a signature."""
_SEED = 1
_RECALL = 0.98
"""Probability that a pair at the threshold is compared."""
_PHRASE_WORDS = 3
_BATCH_PHRASES = 32 * 1024
_NEIGHBOURS = 16
_BATCH_PAIRS = 32 * 1024
_MULTIPLIERS = numpy.random.default_rng(_SEED).integers(
    1 << 63, 1 << 64, SIGNATURE_LENGTH, dtype=numpy.uint64
) | numpy.uint64(1)

Indexes = NDArray[numpy.int64]
"""Indexes of texts."""
Signatures = NDArray[numpy.uint16]
"""One signature in each row of the matrix."""
Digests = NDArray[numpy.uint64]


def phrases(text: str, context: str = "") -> list[str]:
    """The three-word phrases of a text, or a shorter text as a whole; case does not matter.

    Texts with different contexts have no phrase in common.
    """
    found = words(text)
    if len(found) < _PHRASE_WORDS:
        return [f"{context} {' '.join(found) or text}"]
    return [f"{context} {one} {two} {three}" for one, two, three in zip(found, found[1:], found[2:], strict=False)]


def band_length(threshold: float) -> int:
    """Hash values in a band: as many as let a pair at the threshold be compared with the probability stated above."""
    lengths = range(SIGNATURE_LENGTH, 0, -1)
    return next(length for length in lengths if 1 - (1 - threshold**length) ** (SIGNATURE_LENGTH // length) >= _RECALL)


class SignatureBuilder:
    """The signatures of many texts, 256 bytes each."""

    def __init__(self) -> None:
        self._values = array("H")
        self._waiting: list[list[str]] = []
        self._waiting_phrases = 0

    def add(self, text: str, context: str) -> None:
        """Add a text. Texts with different contexts are never similar."""
        found = phrases(text, context)
        self._waiting.append(found)
        self._waiting_phrases += len(found)
        if self._waiting_phrases >= _BATCH_PHRASES:
            self._flush()

    def matrix(self) -> Signatures:
        """All signatures, in the order in which the texts were added."""
        self._flush()
        return numpy.frombuffer(self._values, dtype=numpy.uint16).reshape(-1, SIGNATURE_LENGTH)

    def _flush(self) -> None:
        if self._waiting:
            values = rensa.RMinHash.digest_matrix_from_token_sets(self._waiting, SIGNATURE_LENGTH, _SEED).to_rows()
            self._values.frombytes(numpy.array(values, dtype=numpy.uint32).astype(numpy.uint16).tobytes())
        self._waiting, self._waiting_phrases = [], 0


def digests(signatures: Signatures) -> Digests:
    """One number for each signature, the same for equal ones."""
    total = numpy.zeros(len(signatures), dtype=numpy.uint64)
    for column, multiplier in zip(signatures.T, _MULTIPLIERS, strict=False):
        total += column * multiplier
    return total


def similar_pairs(signatures: Signatures, texts: Indexes, threshold: float) -> Iterator[tuple[Indexes, Indexes]]:
    """Pairs of `texts` whose similarity is at least the threshold, as two arrays: the first has of each pair the text
    that comes earlier in `texts`, the second the other one. A pair may occur more than once."""
    for earlier, later in _candidates(signatures, texts, band_length(threshold)):
        for start in range(0, len(earlier), _BATCH_PAIRS):
            left, right = earlier[start : start + _BATCH_PAIRS], later[start : start + _BATCH_PAIRS]
            agreeing = numpy.count_nonzero(signatures[left] == signatures[right], axis=1)
            similar = agreeing >= threshold * SIGNATURE_LENGTH
            if similar.any():
                yield left[similar], right[similar]


def _candidates(signatures: Signatures, texts: Indexes, length: int) -> Iterator[tuple[Indexes, Indexes]]:
    """Pairs of texts that agree in a band, the earlier one first."""
    starts = range(0, SIGNATURE_LENGTH - length + 1, length)
    bands = (digests(signatures[:, start : start + length])[texts] for start in [*starts[1:], starts[0]])
    band = digests(signatures[:, :length])[texts]
    for next_band in bands:
        # If many texts share a band, those that share the next one as well become neighbours.
        positions = numpy.lexsort((next_band, band))
        sorted_band = band[positions]
        for distance in range(1, min(_NEIGHBOURS, len(texts) - 1) + 1):
            same = sorted_band[distance:] == sorted_band[:-distance]
            if not same.any():
                break
            left, right = positions[:-distance][same], positions[distance:][same]
            yield texts[numpy.minimum(left, right)], texts[numpy.maximum(left, right)]
        band = next_band
