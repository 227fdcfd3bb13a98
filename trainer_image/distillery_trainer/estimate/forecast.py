"""From counted prompts, and from what a pilot used, to an Estimate with its spread and its price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy
from numpy.typing import NDArray

from distillery_api.result import Estimate, shortened
from distillery_api.spec import Pricing

Array = NDArray[numpy.float64]

_MILLION = 1_000_000
_CONFIDENCE = 0.9
_USUAL_ANSWERS = "answers are taken to be as long as this task's usually are, and at most as long as allowed"
_UNKNOWN_SPREAD = 2.0
"""Of a single row nobody knows the spread: half to double."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What the teacher is asked: requests, tokens read and tokens written."""

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


@dataclass(frozen=True)
class Expected:
    """What asking the rows should come to, judging by their prompts alone."""

    rows: int
    calls: Calls
    most_output_tokens: float
    """If every reply is as long as it may be."""
    margin: float
    """How far the counts may be off beside the teacher's own tokenizer, as a share."""
    basis: str
    """How tokens were counted."""
    notes: tuple[str, ...]
    """What must be known to read the numbers rightly."""

    def noting(self, note: str) -> Expected:
        """The same with a further note."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True, slots=True)
class PilotRow:
    """One row of a pilot."""

    expected: Calls
    """What it should have come to."""
    used: Calls
    """What it came to, by the server's count."""
    cached_tokens: int = 0
    """Of the tokens read, those that the server had in its cache."""


def from_prompts(expected: Expected, pricing: Pricing | None) -> Estimate:
    """The estimate without a pilot: answers between half as long as usual and as long as allowed."""
    calls = expected.calls
    low = Calls(calls.requests, calls.input_tokens * (1 - expected.margin), calls.output_tokens / 2)
    most = max(calls.output_tokens, expected.most_output_tokens)
    high = Calls(calls.requests, calls.input_tokens * (1 + expected.margin), most)
    estimate = _estimate(expected, calls, (low.tokens, high.tokens), (expected.basis, _USUAL_ANSWERS))
    if pricing is None:
        return estimate
    rates = Rates.of(pricing)
    return _priced(estimate, pricing, calls.cost(rates), (low.cost(rates), high.cost(rates)))


def from_pilot(expected: Expected, rows: Sequence[PilotRow], pricing: Pricing | None) -> Estimate:
    """The estimate after a pilot of at least one row, which says by how much the expectation is off.

    Bounds are those of the 90 % interval (ratio estimator with finite population correction: Cochran, Sampling
    Techniques, 3rd ed., section 6.4), for tokens and money each by themselves.
    """
    pilot = _Pilot(rows, expected)
    basis = f"tokens are as the server counted them for a pilot of {len(rows)} rows"
    estimate = _estimate(expected, pilot.calls, pilot.interval(Rates(1, 1)), (basis,), len(rows))
    if pricing is None:
        return estimate
    rates = Rates.of(pricing, pilot.cached)
    return _priced(estimate, pricing, pilot.calls.cost(rates), pilot.interval(rates))


class _Pilot:
    """Rows of a pilot, beside all the rows that are to be asked."""

    def __init__(self, rows: Sequence[PilotRow], expected: Expected) -> None:
        self._rows, self._size = expected.rows, len(rows)
        requests, _ = _calibrated([row.used.requests for row in rows], [row.expected.requests for row in rows])
        read, self._read_off = _calibrated(
            [row.used.input_tokens for row in rows], [row.expected.input_tokens for row in rows]
        )
        written, self._written_off = _calibrated(
            [row.used.output_tokens for row in rows], [row.expected.output_tokens for row in rows]
        )
        calls = expected.calls
        self.calls = Calls(calls.requests * requests, calls.input_tokens * read, calls.output_tokens * written)
        self.cached = sum(row.cached_tokens for row in rows) / max(1.0, sum(row.used.input_tokens for row in rows))
        """Share of the tokens read that the server had in its cache."""

    def interval(self, rates: Rates) -> tuple[float, float]:
        """The 90 % interval of what all rows come to at these rates."""
        from scipy.stats import t as student_t  # takes a second to load, and only a pilot needs it

        middle = self.calls.cost(rates)
        if self._size < 2:
            return middle / _UNKNOWN_SPREAD, middle * _UNKNOWN_SPREAD
        off = rates.read * self._read_off + rates.written * self._written_off
        not_asked = max(0.0, 1 - self._size / self._rows)
        error = self._rows * math.sqrt(float(off.var(ddof=1)) / self._size * not_asked)
        width = float(student_t.ppf((1 + _CONFIDENCE) / 2, self._size - 1)) * error
        return max(0.0, middle - width), middle + width


def _calibrated(used: Sequence[float], expected: Sequence[float]) -> tuple[float, Array]:
    """By what factor the rows used more than expected, and how far each is off even so."""
    ratio = sum(used) / sum(expected) if sum(expected) else 1.0
    return ratio, numpy.array(used, dtype=float) - ratio * numpy.array(expected, dtype=float)


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


def _priced(estimate: Estimate, pricing: Pricing, cost: float, bounds: tuple[float, float]) -> Estimate:
    money = {"cost": cost, "low_cost": bounds[0], "high_cost": bounds[1]}
    rounded = {name: float(f"{amount:.4g}") for name, amount in money.items()}
    return estimate.model_copy(update={"currency": pricing.currency, **rounded})
