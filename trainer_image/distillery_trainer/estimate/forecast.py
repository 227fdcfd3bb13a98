"""From counted prompts, and from what a pilot used, to an Estimate with its spread and its price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy
from numpy.typing import NDArray

from distillery_api.formatting import shortened
from distillery_api.spec import Pricing
from distillery_api.usage import Estimate

Array = NDArray[numpy.float64]

_MILLION = 1_000_000
_CONFIDENCE = 0.9
_USUAL_ANSWERS = "answers are taken to be as long as this task's usually are, and at most as long as allowed"
_UNKNOWN_SPREAD = 2.0
"""Of a single row nobody knows the spread: half to double."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What a model is asked: requests, tokens read and tokens written."""

    requests: float = 0
    input_tokens: float = 0
    output_tokens: float = 0

    def __add__(self, other: Calls) -> Calls:
        return Calls(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def times(self, factor: float) -> Calls:
        """So many of it."""
        return Calls(self.requests * factor, self.input_tokens * factor, self.output_tokens * factor)

    @property
    def tokens(self) -> float:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def cost(self, rates: Rates) -> float:
        """Money for them."""
        return self.input_tokens * rates.read + self.output_tokens * rates.written


@dataclass(frozen=True)
class Rates:
    """The price of one token."""

    read: float
    written: float

    @classmethod
    def of(cls, pricing: Pricing, cached: float = 0) -> Rates:
        """The rates where a share `cached` of what is read is in the server's cache."""
        full, cheaper = pricing.input_per_million, pricing.cached_input_per_million
        read = full if cheaper is None else full + cached * (cheaper - full)
        return cls(read / _MILLION, pricing.output_per_million / _MILLION)


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """What one model should be asked for all rows."""

    calls: Calls = Calls()
    most_output_tokens: float = 0
    """If every reply is as long as it may be."""

    def bounds(self, margin: float) -> tuple[Calls, Calls]:
        """Where nobody was asked: prompts off by `margin` (a share), answers between half as long as usual and as long
        as allowed."""
        calls = self.calls
        most = max(calls.output_tokens, self.most_output_tokens)
        return (
            Calls(calls.requests, calls.input_tokens * (1 - margin), calls.output_tokens / 2),
            Calls(calls.requests, calls.input_tokens * (1 + margin), most),
        )


@dataclass(frozen=True)
class Expected:
    """What asking the rows should come to, judging by their prompts alone."""

    rows: int
    teacher: ModelLoad
    judge: ModelLoad
    """Empty where there is no judge."""
    margin: float
    """How far the counts may be off beside the models' own tokenizers, as a share."""
    basis: str
    """How tokens were counted."""
    notes: tuple[str, ...] = ()
    """What must be known to read the numbers rightly."""

    @property
    def loads(self) -> tuple[ModelLoad, ModelLoad]:
        """Of teacher and judge."""
        return self.teacher, self.judge

    def noting(self, note: str) -> Expected:
        """The same with a further note."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True, slots=True)
class Measured:
    """What one row of a pilot asked one model."""

    expected: Calls = Calls()
    """What it should have come to."""
    used: Calls = Calls()
    """What it came to, by the server's count."""
    cached_tokens: int = 0
    """Of the tokens read, those that the server had in its cache."""


@dataclass(frozen=True, slots=True)
class PilotRow:
    """One row of a pilot."""

    teacher: Measured
    judge: Measured = Measured()


Pricings = tuple[Pricing | None, Pricing | None]
"""Of teacher and judge: both, in one currency, or none."""


def from_prompts(expected: Expected, pricings: Pricings) -> Estimate:
    """The estimate without a pilot: answers between half as long as usual and as long as allowed."""
    bounds = [load.bounds(expected.margin) for load in expected.loads]
    low, high = [low for low, _ in bounds], [high for _, high in bounds]
    calls = [load.calls for load in expected.loads]
    tokens = _sum(low).tokens, _sum(high).tokens
    estimate = _estimate(expected, _sum(calls), tokens, (expected.basis, _USUAL_ANSWERS))
    rates = [Rates.of(pricing) for pricing in pricings if pricing]
    if not rates:
        return estimate
    return _priced(estimate, pricings, _cost(calls, rates), (_cost(low, rates), _cost(high, rates)))


def from_pilot(expected: Expected, rows: Sequence[PilotRow], pricings: Pricings) -> Estimate:
    """The estimate after a pilot of at least one row, which says by how much the expectation is off.

    Bounds are those of the 90 % interval (ratio estimator with finite population correction: Cochran, Sampling
    Techniques, 3rd ed., section 6.4), for tokens and money each by themselves.
    """
    models = [
        _Calibrated([row.teacher for row in rows], expected.teacher.calls),
        _Calibrated([row.judge for row in rows], expected.judge.calls),
    ]
    basis = f"tokens are as the server counted them for a pilot of {len(rows)} rows"
    tokens = _interval(models, [Rates(1, 1)] * len(models), expected.rows)
    calls = [model.calls for model in models]
    estimate = _estimate(expected, _sum(calls), tokens, (basis,), len(rows))
    rates = [Rates.of(pricing, model.cached) for pricing, model in zip(pricings, models, strict=True) if pricing]
    if not rates:
        return estimate
    return _priced(estimate, pricings, _cost(calls, rates), _interval(models, rates, expected.rows))


class _Calibrated:
    """What one model is asked for all rows, corrected by the rows of a pilot."""

    def __init__(self, rows: Sequence[Measured], expected: Calls) -> None:
        requests, _ = _ratio([row.used.requests for row in rows], [row.expected.requests for row in rows])
        read, self._read_off = _ratio(
            [row.used.input_tokens for row in rows], [row.expected.input_tokens for row in rows]
        )
        written, self._written_off = _ratio(
            [row.used.output_tokens for row in rows], [row.expected.output_tokens for row in rows]
        )
        self.calls = Calls(expected.requests * requests, expected.input_tokens * read, expected.output_tokens * written)
        self.cached = sum(row.cached_tokens for row in rows) / max(1.0, sum(row.used.input_tokens for row in rows))
        """Share of the tokens read that the server had in its cache."""

    def off(self, rates: Rates) -> Array:
        """How far each row is off in spite of the correction."""
        return rates.read * self._read_off + rates.written * self._written_off


def _interval(models: Sequence[_Calibrated], rates: Sequence[Rates], rows: int) -> tuple[float, float]:
    """The 90 % interval of what all rows come to at these rates."""
    from scipy.stats import t as student_t  # takes a second to load, and only a pilot needs it

    middle = _cost([model.calls for model in models], rates)
    off = sum((model.off(rate) for model, rate in zip(models, rates, strict=True)), numpy.zeros(1))
    if len(off) < 2:
        return middle / _UNKNOWN_SPREAD, middle * _UNKNOWN_SPREAD
    not_asked = max(0.0, 1 - len(off) / rows)
    error = rows * math.sqrt(float(off.var(ddof=1)) / len(off) * not_asked)
    width = float(student_t.ppf((1 + _CONFIDENCE) / 2, len(off) - 1)) * error
    return max(0.0, middle - width), middle + width


def _ratio(used: Sequence[float], expected: Sequence[float]) -> tuple[float, Array]:
    """By what factor the rows used more than expected, and how far each is off even so."""
    ratio = sum(used) / sum(expected) if sum(expected) else 1.0
    return ratio, numpy.array(used, dtype=float) - ratio * numpy.array(expected, dtype=float)


def _sum(calls: Sequence[Calls]) -> Calls:
    return sum(calls, Calls())


def _cost(calls: Sequence[Calls], rates: Sequence[Rates]) -> float:
    """Money for each model's calls at its rates."""
    return sum(each.cost(rate) for each, rate in zip(calls, rates, strict=True))


def _estimate(
    expected: Expected, calls: Calls, tokens: tuple[float, float], basis: Sequence[str], pilot_rows: int = 0
) -> Estimate:
    return Estimate(
        rows=expected.rows,
        requests=round(calls.requests),
        input_tokens=round(calls.input_tokens),
        output_tokens=round(calls.output_tokens),
        low_tokens=math.floor(tokens[0]),
        high_tokens=math.ceil(tokens[1]),
        pilot_rows=pilot_rows,
        basis=shortened("; ".join([*basis, *expected.notes]), 512),
    )


def _priced(estimate: Estimate, pricings: Pricings, cost: float, bounds: tuple[float, float]) -> Estimate:
    money = {"cost": cost, "low_cost": bounds[0], "high_cost": bounds[1]}
    rounded = {name: float(f"{amount:.4g}") for name, amount in money.items()}
    currency = next(pricing.currency for pricing in pricings if pricing)
    return estimate.model_copy(update={"currency": currency, **rounded})
