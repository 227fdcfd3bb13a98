"""What a thousand calls of the served student cost, beside a thousand of the teacher's."""

from __future__ import annotations

from distillery_api.status import ServingCost
from distillery_api.usage import Usage
from distillery_api.verification import Verification

_SECONDS_PER_HOUR = 3600
_CALLS = 1000


def serving_cost(
    cost_per_hour: float | None, verification: Verification | None, usage: Usage | None
) -> ServingCost | None:
    """The cost at the measured speed; None where no cost is given or nothing was measured."""
    measured = verification.measurement if verification else None
    if cost_per_hour is None or measured is None or not measured.requests_per_second:
        return None
    per_second = cost_per_hour / _SECONDS_PER_HOUR
    return ServingCost(
        per_thousand_calls=round(_CALLS * per_second / measured.requests_per_second, 6),
        teacher_per_thousand_calls=_of_teacher(usage),
        currency=usage.currency if usage else None,
    )


def _of_teacher(usage: Usage | None) -> float | None:
    if usage is None or usage.cost is None or not usage.requests:
        return None
    return round(_CALLS * usage.cost / usage.requests, 6)
