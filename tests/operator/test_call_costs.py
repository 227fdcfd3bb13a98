"""A thousand calls of the student, beside a thousand of the teacher's."""

from __future__ import annotations

import pytest

from distillery_api.evaluation import CallCosts, Evaluation, Score
from distillery_api.spec import DistillationSpec
from distillery_api.status import ServingCost
from distillery_api.usage import Usage
from distillery_api.verification import Measurement, Verification
from distillery_operator.core.call_costs import call_costs, serving_cost, with_call_costs

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


TABLE = Evaluation(sample_size=9, teacher=Score(score=1.0, prompt_tokens=400.0, answer_tokens=50.0))
PRICING = {"currency": "EUR", "inputPerMillion": 10, "outputPerMillion": 40}


def spec(cost_per_hour: float | None = 3.6, pricing: dict[str, object] | None = None) -> DistillationSpec:
    teacher = {"name": "oracle", "endpoint": "http://127.0.0.1:1/v1", "model": "oracle", "pricing": pricing}
    return DistillationSpec.model_validate(
        {
            "task": "NLI",
            "data": {"train": {"uri": "train.jsonl"}, "validation": {"uri": "validation.jsonl"}},
            "generation": {"teachers": [teacher]},
            "student": {"model": {"uri": "model"}},
            "serving": {"costPerHour": cost_per_hour},
        }
    )


def test_a_thousand_calls_cost_the_tokens_of_the_teacher_and_the_time_of_the_students_server() -> None:
    # 10 replies a second: 100 s for 1,000 of them, at 3.6 an hour. 400,000 input tokens at 10 and 50,000 at 40.
    expected = CallCosts(student=0.1, teacher=6.0, currency="EUR")
    assert call_costs(TABLE, spec(pricing=PRICING), VERIFIED, PAID) == expected
    assert with_call_costs(TABLE, spec(pricing=PRICING), VERIFIED, PAID).cost == expected
    assert serving_cost(expected) == ServingCost(per_thousand_calls=0.1, teacher_per_thousand_calls=6.0, currency="EUR")


def test_without_the_teachers_tokens_its_calls_cost_what_was_paid_for_them() -> None:
    # Without gold, the table has no line of the teacher: it was paid 2 USD for 400 requests.
    table = Evaluation(metric="agreement", sample_size=9, student=Score(score=1.0))
    expected = CallCosts(student=0.1, teacher=5.0, currency="USD")
    assert call_costs(table, spec(), VERIFIED, PAID) == call_costs(None, spec(), VERIFIED, PAID) == expected


@pytest.mark.parametrize("usage", [None, Usage(), Usage(requests=3), Usage(cost=0.0)])
def test_a_teacher_without_prices_has_no_cost(usage: Usage | None) -> None:
    assert call_costs(TABLE, spec(), VERIFIED, usage) == CallCosts(student=0.1)


@pytest.mark.parametrize(
    ("cost", "verification"),
    [(None, VERIFIED), (3.6, None), (3.6, VERIFIED.model_copy(update={"measurement": None}))],
)
def test_what_is_not_known_is_absent(cost: float | None, verification: Verification | None) -> None:
    assert call_costs(TABLE, spec(cost), verification, None) is None
    costs = call_costs(TABLE, spec(cost, PRICING), verification, None)
    assert costs == CallCosts(teacher=6.0, currency="EUR")
    assert serving_cost(costs) is None
