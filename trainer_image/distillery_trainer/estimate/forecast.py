"""From counted prompts, and from the usage of a pilot, to an Estimate with its bounds and its cost."""

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
_TYPICAL_ANSWERS = "answers are assumed to have this task's typical length, and at most the allowed length"
_UNKNOWN_SPREAD = 2.0
"""The spread of a single row is unknown: the bounds are half and double."""


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Requests, input tokens and output tokens of one model."""

    requests: float = 0
    input_tokens: float = 0
    output_tokens: float = 0

    def __add__(self, other: ModelUsage) -> ModelUsage:
        return ModelUsage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def scaled(self, factor: float) -> ModelUsage:
        """The usage multiplied by a factor."""
        return ModelUsage(self.requests * factor, self.input_tokens * factor, self.output_tokens * factor)

    @property
    def tokens(self) -> float:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens

    def cost(self, prices: TokenPrices) -> float:
        """Their cost."""
        return self.input_tokens * prices.input + self.output_tokens * prices.output


@dataclass(frozen=True)
class TokenPrices:
    """The prices of one token."""

    input: float
    output: float

    @classmethod
    def of(cls, pricing: Pricing, cached: float = 0) -> TokenPrices:
        """The prices if a share `cached` of the input tokens is in the server's cache."""
        full, reduced = pricing.input_per_million, pricing.cached_input_per_million
        average = full if reduced is None else full + cached * (reduced - full)
        return cls(average / _MILLION, pricing.output_per_million / _MILLION)


@dataclass(frozen=True, slots=True)
class ExpectedUsage:
    """The expected usage of one model for all rows."""

    usage: ModelUsage = ModelUsage()
    max_output_tokens: float = 0
    """Output tokens if every reply has the maximum length."""

    def bounds(self, margin: float) -> tuple[ModelUsage, ModelUsage]:
        """Lower and upper bound without a pilot: prompts within `margin` (a share), answers between half the typical
        length and the allowed length."""
        usage = self.usage
        max_output_tokens = max(usage.output_tokens, self.max_output_tokens)
        return (
            ModelUsage(usage.requests, usage.input_tokens * (1 - margin), usage.output_tokens / 2),
            ModelUsage(usage.requests, usage.input_tokens * (1 + margin), max_output_tokens),
        )


@dataclass(frozen=True)
class Forecast:
    """What the rows are expected to use, judging by their prompts only."""

    rows: int
    teacher: ExpectedUsage
    judge: ExpectedUsage
    """Zero if there is no judge."""
    margin: float
    """How far the counts may differ from those of the models' own tokenizers, as a share."""
    basis: str
    """How tokens were counted."""
    stored_rows: int = 0
    """Rows that are not among them, since their replies are stored."""
    notes: tuple[str, ...] = ()
    """What must be known to interpret the numbers."""

    @property
    def models(self) -> tuple[ExpectedUsage, ExpectedUsage]:
        """Teacher and judge."""
        return self.teacher, self.judge

    def with_note(self, note: str) -> Forecast:
        """The forecast with another note."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True, slots=True)
class PilotUsage:
    """What one row of a pilot used of one model."""

    expected: ModelUsage = ModelUsage()
    """The expected usage."""
    used: ModelUsage = ModelUsage()
    """The measured usage, as counted by the server."""
    cached_tokens: int = 0
    """Input tokens that the server read from its cache."""


@dataclass(frozen=True, slots=True)
class PilotRow:
    """One row of a pilot."""

    teacher: PilotUsage
    judge: PilotUsage = PilotUsage()


Pricings = tuple[Pricing | None, Pricing | None]
"""The pricing of teacher and judge: of both, in one currency, or of neither."""


def from_prompts(forecast: Forecast, pricings: Pricings) -> Estimate:
    """The estimate without a pilot: answers between half the typical length and the allowed length."""
    bounds = [model.bounds(forecast.margin) for model in forecast.models]
    low, high = [low for low, _ in bounds], [high for _, high in bounds]
    usage = [model.usage for model in forecast.models]
    tokens = _sum(low).tokens, _sum(high).tokens
    estimate = _estimate(forecast, _sum(usage), tokens, (forecast.basis, _TYPICAL_ANSWERS))
    prices = [TokenPrices.of(pricing) for pricing in pricings if pricing]
    if not prices:
        return estimate
    return _priced(estimate, pricings, _cost(usage, prices), (_cost(low, prices), _cost(high, prices)))


def from_pilot(forecast: Forecast, rows: Sequence[PilotRow], pricings: Pricings) -> Estimate:
    """The estimate after a pilot of at least one row, which corrects the forecast.

    Bounds are those of the 90 % interval (ratio estimator with finite population correction: Cochran, Sampling
    Techniques, 3rd ed., section 6.4), computed separately for tokens and cost.
    """
    models = [
        _CalibratedUsage([row.teacher for row in rows], forecast.teacher.usage),
        _CalibratedUsage([row.judge for row in rows], forecast.judge.usage),
    ]
    basis = f"tokens are as counted by the server for a pilot of {len(rows)} rows"
    tokens = _interval(models, [TokenPrices(1, 1)] * len(models), forecast.rows)
    usage = [model.usage for model in models]
    estimate = _estimate(forecast, _sum(usage), tokens, (basis,), len(rows))
    prices = [TokenPrices.of(pricing, model.cached) for pricing, model in zip(pricings, models, strict=True) if pricing]
    if not prices:
        return estimate
    return _priced(estimate, pricings, _cost(usage, prices), _interval(models, prices, forecast.rows))


class _CalibratedUsage:
    """The expected usage of one model for all rows, corrected by the rows of a pilot."""

    def __init__(self, rows: Sequence[PilotUsage], expected: ModelUsage) -> None:
        requests, _ = _ratio([row.used.requests for row in rows], [row.expected.requests for row in rows])
        input_tokens, self._input_residuals = _ratio(
            [row.used.input_tokens for row in rows], [row.expected.input_tokens for row in rows]
        )
        output_tokens, self._output_residuals = _ratio(
            [row.used.output_tokens for row in rows], [row.expected.output_tokens for row in rows]
        )
        self.usage = ModelUsage(
            expected.requests * requests, expected.input_tokens * input_tokens, expected.output_tokens * output_tokens
        )
        self.cached = sum(row.cached_tokens for row in rows) / max(1.0, sum(row.used.input_tokens for row in rows))
        """Share of the input tokens that the server read from its cache."""

    def residuals(self, prices: TokenPrices) -> Array:
        """How far each row of the pilot deviates from the corrected usage."""
        return prices.input * self._input_residuals + prices.output * self._output_residuals


def _interval(models: Sequence[_CalibratedUsage], prices: Sequence[TokenPrices], rows: int) -> tuple[float, float]:
    """The 90 % interval of the cost of all rows at these prices."""
    from scipy.stats import t as student_t  # takes a second to load, and only a pilot needs it

    middle = _cost([model.usage for model in models], prices)
    residuals = sum((model.residuals(price) for model, price in zip(models, prices, strict=True)), numpy.zeros(1))
    if len(residuals) < 2:
        return middle / _UNKNOWN_SPREAD, middle * _UNKNOWN_SPREAD
    unsampled_share = max(0.0, 1 - len(residuals) / max(1, rows))
    error = rows * math.sqrt(float(residuals.var(ddof=1)) / len(residuals) * unsampled_share)
    width = float(student_t.ppf((1 + _CONFIDENCE) / 2, len(residuals) - 1)) * error
    return max(0.0, middle - width), middle + width


def _ratio(used: Sequence[float], expected: Sequence[float]) -> tuple[float, Array]:
    """The ratio of used to expected, and how far each row deviates from it."""
    ratio = sum(used) / sum(expected) if sum(expected) else 1.0
    return ratio, numpy.array(used, dtype=float) - ratio * numpy.array(expected, dtype=float)


def _sum(usage: Sequence[ModelUsage]) -> ModelUsage:
    return sum(usage, ModelUsage())


def _cost(usage: Sequence[ModelUsage], prices: Sequence[TokenPrices]) -> float:
    """The cost of each model's usage at its prices."""
    return sum(each.cost(price) for each, price in zip(usage, prices, strict=True))


def _estimate(
    forecast: Forecast, usage: ModelUsage, tokens: tuple[float, float], basis: Sequence[str], pilot_rows: int = 0
) -> Estimate:
    return Estimate(
        rows=forecast.rows,
        stored_rows=forecast.stored_rows,
        requests=round(usage.requests),
        input_tokens=round(usage.input_tokens),
        output_tokens=round(usage.output_tokens),
        low_tokens=math.floor(tokens[0]),
        high_tokens=math.ceil(tokens[1]),
        pilot_rows=pilot_rows,
        basis=shortened("; ".join([*basis, *forecast.notes]), 512),
    )


def _priced(estimate: Estimate, pricings: Pricings, cost: float, bounds: tuple[float, float]) -> Estimate:
    costs = {"cost": cost, "low_cost": bounds[0], "high_cost": bounds[1]}
    rounded = {name: float(f"{amount:.4g}") for name, amount in costs.items()}
    currency = next(pricing.currency for pricing in pricings if pricing)
    return estimate.model_copy(update={"currency": currency, **rounded})
