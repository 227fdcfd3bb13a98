"""Two systems on the same rows: their difference, how precisely it is known, and what may be concluded from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distillery_trainer.evaluation import scores

SIGNIFICANT = 0.05
"""p-values below it tell two systems apart."""
MARGIN = 0.1
"""A difference of scores that may not stay hidden in the noise: 10 of 100 rows."""
FEWEST_ROWS = 20
"""With fewer rows, no test says anything."""
_Z = 1.959964
"""Of the 95 % interval."""


@dataclass(frozen=True)
class PairedComparison:
    """One system's mean score minus another's. The four conclusions exclude each other, except that two systems without
    a significant difference may be alike and, at the same time, the one not better than the other."""

    difference: float
    low: float
    """Lower bound of the 95 % interval of the difference."""
    high: float
    p_value: float

    @property
    def is_better(self) -> bool:
        """Whether it is significantly better than the other."""
        return self.p_value < SIGNIFICANT and self.difference > 0

    @property
    def is_worse(self) -> bool:
        """Whether it is significantly worse than the other."""
        return self.p_value < SIGNIFICANT and self.difference < 0

    @property
    def is_no_better(self) -> bool:
        """Whether it is not better than the other, by its score or within the margin. The burden of proof is its own;
        only a higher score that too few rows leave open is neither better nor no better."""
        return not self.is_better and (self.difference <= 0 or self.high <= MARGIN)

    @property
    def is_alike(self) -> bool:
        """Whether there is no significant difference, and it cannot be worse by more than the margin."""
        return not self.is_better and not self.is_worse and self.low >= -MARGIN

    def rows_to_tell(self, rows: int) -> int:
        """How many rows would tell the two apart, or show them to be alike, if the others are like these `rows`."""
        wanted = max(abs(self.difference), MARGIN / 2)
        return math.ceil(rows * ((self.high - self.low) / 2 / wanted) ** 2)


def compare(first: Sequence[float], second: Sequence[float]) -> PairedComparison:
    """The comparison of two systems by their scores on the same rows, in the same order; at least one row.

    Where every score is 0 or 1, by McNemar's exact test and the interval of Agresti and Min (Statistics in Medicine
    2005, 24:729-740), which adds half a row to each of the four cells and so stays honest where the two never differ;
    otherwise by a paired bootstrap.
    """
    if all(score in (0, 1) for score in (*first, *second)):
        return _of_right_and_wrong([score == 1 for score in first], [score == 1 for score in second])
    differences = [one - other for one, other in zip(first, second, strict=True)]
    mean = math.fsum(differences) / len(differences)
    low, high = scores.bootstrap_interval(differences) or (-1.0, 1.0)
    return PairedComparison(mean, low, high, scores.paired_bootstrap_p(first, second))


def _of_right_and_wrong(first: Sequence[bool], second: Sequence[bool]) -> PairedComparison:
    pairs = list(zip(first, second, strict=True))
    better, worse, rows = pairs.count((True, False)), pairs.count((False, True)), len(pairs)
    adjusted = rows + 2
    centre, differing = (better - worse) / adjusted, (better + worse + 1) / adjusted
    half = _Z * math.sqrt(max(0.0, differing - centre**2) / adjusted)
    return PairedComparison((better - worse) / rows, centre - half, centre + half, scores.mcnemar_p(first, second))
