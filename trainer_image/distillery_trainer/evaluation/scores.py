"""The formulas of the result table: pure functions, so that each can be checked against published numbers."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy
from numpy.typing import ArrayLike
from scipy.stats import binomtest, bootstrap
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from distillery_api.breakdown import PartFigures

_NO_ANSWER = ""
_RESAMPLES = 9_999
_SEED = 20_241
_RESAMPLE_BATCH = 256
"""Resamples that are held in memory together."""


def share(values: Sequence[bool]) -> float:
    """Share of true values, from 0 to 1. Raises StatisticsError without values."""
    return fmean(values)


def wilson_interval(correct: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, without continuity correction), as (low, high) from 0 to 1."""
    interval = binomtest(correct, rows).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean (percentile bootstrap, Efron 1979) as (low, high), deterministic. None for a single
    value."""
    if len(values) < 2:
        return None
    interval = _resampled(values).confidence_interval
    return float(interval.low), float(interval.high)


def micro_f1_interval(right: Sequence[int], answered_and_wanted: Sequence[int]) -> tuple[float, float] | None:
    """The 95 % interval of 2 * sum(right) / sum(answered_and_wanted) as (low, high): rows are resampled (percentile
    bootstrap), deterministic. None for fewer than two rows that have any."""
    rows = [pair for pair in zip(right, answered_and_wanted, strict=True) if pair[1]]
    if len(rows) < 2:
        return None
    interval = bootstrap(
        tuple(numpy.asarray(column, dtype=float) for column in zip(*rows, strict=True)),
        lambda right, both, axis: 2 * right.sum(axis) / both.sum(axis),
        paired=True,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLE_BATCH,
        confidence_level=0.95,
        method="percentile",
        rng=_SEED,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired_bootstrap_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p-value for equal means, from a bootstrap of the differences of paired values.

    The differences are centred on 0; the p-value is the share of resamples whose mean is at least as far from 0 as the
    observed mean (Efron and Tibshirani 1993, section 16.4). 1.0 if the values never differ, and for a single pair.
    Deterministic.
    """
    differences = numpy.subtract(first, second, dtype=float)
    observed = float(differences.mean())
    if len(differences) < 2 or not differences.any():
        return 1.0
    resampled_means = _resampled(differences - observed).bootstrap_distribution
    extreme = int((abs(resampled_means) >= abs(observed) * (1 - 1e-9)).sum())
    return (extreme + 1) / (_RESAMPLES + 1)


def _resampled(values: ArrayLike) -> Any:
    return bootstrap(
        (numpy.asarray(values, dtype=float),),
        numpy.mean,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLE_BATCH,
        confidence_level=0.95,
        method="percentile",
        rng=_SEED,
    )


def perplexity(losses: Iterable[tuple[float, int]]) -> float | None:
    """exp of the mean negative log-likelihood (nats) per token. `losses` are sums with their numbers of tokens; None
    without tokens."""
    total, tokens = 0.0, 0
    for loss, count in losses:
        total, tokens = total + loss, tokens + count
    return math.exp(min(total / tokens, 700.0)) if tokens else None


def macro_f1(gold: Sequence[str], answers: Sequence[str | None], labels: Sequence[str]) -> float:
    """Mean F1 (harmonic mean of precision and recall) over the labels that occur in `gold`, from 0 to 1.

    A missing answer (None) belongs to no label: it lowers only the recall of its row's label.
    """
    occurring = [label for label in labels if label in set(gold)]
    predicted = [answer or _NO_ANSWER for answer in answers]
    return float(f1_score(list(gold), predicted, labels=occurring, average="macro", zero_division=0))


def part_figures(name: str, *, right: int, answered: int, rows: int) -> PartFigures:
    """Precision, recall and F1 of one part, where `right` of the `answered` ones are right, and `rows` have it."""
    precision, recall = right / answered if answered else 0.0, right / rows if rows else 0.0
    f1 = 2 * right / (answered + rows) if right else 0.0
    return PartFigures(name=name, rows=rows, precision=round(precision, 4), recall=round(recall, 4), f1=round(f1, 4))


def gap_closed(*, teacher: float, base_teacher_prompt: float, student: float) -> float | None:
    """The share of the gap between base model and teacher that the student closes: (student - baseTeacherPrompt) /
    (teacher - baseTeacherPrompt), the performance gap of arXiv 2410.18588. Not clamped; None if the teacher is no
    better than the base model."""
    gap = teacher - base_teacher_prompt
    return (student - base_teacher_prompt) / gap if gap > 0 else None


def relative_gain(*, base_teacher_prompt: float, student: float) -> float | None:
    """student / baseTeacherPrompt - 1; None if the base model scores 0."""
    return student / base_teacher_prompt - 1 if base_teacher_prompt > 0 else None


def mcnemar_p(first: Sequence[bool], second: Sequence[bool]) -> float:
    """The exact two-sided p-value of McNemar's test (1947), on the rows that only one of two systems has correct.

    The two sequences are paired: the same rows in the same order. 1.0 if the two never differ.
    """
    pairs = Counter(zip(first, second, strict=True))
    only_first, only_second = pairs[True, False], pairs[False, True]
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer; of several, the first in alphabetical order."""
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def shallow_answers(texts: Sequence[str], answers: Sequence[str], unseen: Sequence[str]) -> list[str]:
    """Answers to `unseen` texts from word counts alone: TF-IDF over words and pairs of words, and logistic regression,
    fitted to `texts` and their `answers`."""
    if len(set(answers)) == 1:
        return [answers[0]] * len(unseen)
    classifier = make_pipeline(_words(), LogisticRegression(max_iter=1000)).fit(list(texts), list(answers))
    return [str(answer) for answer in classifier.predict(list(unseen))]


def shallow_label_sets(
    texts: Sequence[str], given: Mapping[str, Sequence[bool]], unseen: Sequence[str]
) -> list[list[str]]:
    """The labels of `unseen` texts from word counts alone, each label against the rest: as `shallow_answers`, one
    logistic regression a label. `given`: by label, whether each of `texts` has it."""
    words = _words()
    known, new = words.fit_transform(list(texts)), words.transform(list(unseen))
    found: list[list[str]] = [[] for _ in unseen]
    for label, has_label in given.items():
        if len(set(has_label)) == 1:
            predicted = [has_label[0]] * len(unseen)
        else:
            predicted = LogisticRegression(max_iter=1000).fit(known, list(has_label)).predict(new)
        for labels, is_predicted in zip(found, predicted, strict=True):
            labels.extend([label] if is_predicted else [])
    return found


def _words() -> TfidfVectorizer:
    """TF-IDF over words and pairs of words."""
    # A single letter or mark counts as a word, so that no text is without words.
    pattern = r"(?u)\w+|[^\w\s]"
    return TfidfVectorizer(ngram_range=(1, 2), token_pattern=pattern)


def median(values: Sequence[float | None]) -> float | None:
    """The median of the measured values; None if there are none."""
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the measured values; None if there are none."""
    measured = [value for value in values if value is not None]
    return fmean(measured) if measured else None
