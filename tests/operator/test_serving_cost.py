"""A thousand calls of the student, beside a thousand of the teacher's."""

from __future__ import annotations

import pytest

from distillery_api.status import ServingCost
from distillery_api.usage import Usage
from distillery_api.verification import Measurement, Verification
from distillery_operator.core.serving_cost import serving_cost

MEASURED = Measurement(
    tokens_per_second=20.0,
    concurrent_requests=4,
    concurrent_tokens_per_second=50.0,
    requests_per_second=10.0,
    latency_p50_seconds=0.3,
    latency_p95_seconds=0.5,
    requests=80,
)
VERIFIED = Verification(
    rows=16, alike=16, required_share=1.0, latency_seconds=0.18, calls=20, measurement=MEASURED
)  # fmt: skip
PAID = Usage(requests=400, cost=2.0, currency="USD")


def test_a_thousand_calls_cost_what_the_server_costs_meanwhile() -> None:
    # 10 replies a second: 100 s for 1,000 of them, at 3.6 an hour; the teacher was paid 2 USD for 400.
    expected = ServingCost(per_thousand_calls=0.1, teacher_per_thousand_calls=5.0, currency="USD")
    assert serving_cost(3.6, VERIFIED, PAID) == expected


@pytest.mark.parametrize("usage", [None, Usage(), Usage(requests=3), Usage(cost=0.0)])
def test_a_teacher_without_prices_has_no_cost(usage: Usage | None) -> None:
    assert serving_cost(3.6, VERIFIED, usage) == ServingCost(per_thousand_calls=0.1)


@pytest.mark.parametrize(
    ("cost", "verification"),
    [(None, VERIFIED), (3.6, None), (3.6, VERIFIED.model_copy(update={"measurement": None}))],
)
def test_what_is_not_known_is_absent(cost: float | None, verification: Verification | None) -> None:
    assert serving_cost(cost, verification, PAID) is None
