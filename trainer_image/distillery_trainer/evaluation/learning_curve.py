"""The learning curve: the scores of students of a quarter, a half and all of the rows, and what twice the rows promise.

The error 1 - score falls with the number of rows by a power law (Hestness et al., arXiv 1712.00409): a straight line
over the logarithms of both. It is fitted to the three errors by least squares, and continued by one doubling. How well
the line is known, a bootstrap of the held-out rows says, which all three students answered; the chance in each training
is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from distillery_api.evaluation import CurvePoint, LearningCurve

PARTS = {"quarter": 4, "half": 2}
"""The parts of the rows that are trained on as well, smallest first: each a whole divided by this number."""
FEWEST_TRAIN_ROWS = 40
"""With fewer, a quarter teaches nothing."""
_RESAMPLES = 2_000
_SEED = 20_241

Scores = NDArray[numpy.float64]


def learning_curve(rows: Sequence[int], scores: Sequence[Sequence[float]]) -> LearningCurve:
    """The curve of three students, each of twice the rows of the one before. `rows` are their numbers of train rows,
    `scores` for each the scores, from 0 to 1, of its answers to the same held-out rows."""
    answers = numpy.asarray(scores, dtype=float)
    means = answers.mean(axis=1)
    low, high = _interval(answers)
    return LearningCurve(
        points=tuple(CurvePoint(rows=count, score=_rounded(score)) for count, score in zip(rows, means, strict=True)),
        gain=_rounded(_gain(means, answers.shape[1])),
        gain_low=_rounded(low),
        gain_high=_rounded(high),
    )


def _gain(means: Scores, held_out_rows: int) -> float:
    """By how much the fitted error falls with the next doubling; negative where more rows gave lower scores."""
    # Half a row is added, so that no error is 0 and has no logarithm.
    errors = numpy.log2(((1 - means) * held_out_rows + 0.5) / (held_out_rows + 1))
    slope, level = (errors[2] - errors[0]) / 2, errors.mean()
    return float(2 ** (level + slope) - 2 ** (level + 2 * slope))


def _interval(answers: Scores) -> tuple[float, float]:
    generator, count = numpy.random.default_rng(_SEED), answers.shape[1]
    gains = []
    for _ in range(_RESAMPLES):
        drawn = generator.integers(0, count, count)
        gains.append(_gain(answers[:, drawn].mean(axis=1), count))
    low, high = numpy.percentile(gains, (2.5, 97.5))
    return float(low), float(high)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
