"""What a thousand calls cost: of the teacher by its tokens, of the student by the time that its server takes. The one
place for the result table and the status of the server, in a cluster and in a local run."""

from __future__ import annotations

from distillery_api.evaluation import CallCosts, Evaluation
from distillery_api.spec import DistillationSpec
from distillery_api.spec.teacher import Pricing
from distillery_api.status import ServingCost
from distillery_api.usage import Usage
from distillery_api.verification import Verification

_SECONDS_PER_HOUR = 3600
_CALLS = 1000
_MILLION = 1_000_000
_DECIMALS = 6


def with_call_costs(
    table: Evaluation, spec: DistillationSpec, verification: Verification | None, usage: Usage | None
) -> Evaluation:
    """The result table with what a thousand calls cost, as far as that is known."""
    return table.model_copy(update={"cost": call_costs(table, spec, verification, usage)})


def call_costs(
    table: Evaluation | None, spec: DistillationSpec, verification: Verification | None, usage: Usage | None
) -> CallCosts | None:
    """The costs of both; None where neither is known."""
    pricing = spec.generation.pricing
    teacher = _of_tokens(table, pricing) or _of_usage(usage)
    student = _of_server(spec.serving.cost_per_hour, verification)
    if teacher is None and student is None:
        return None
    currency = pricing.currency if pricing else usage.currency if usage else None
    return CallCosts(teacher=teacher, student=student, currency=currency)


def serving_cost(costs: CallCosts | None) -> ServingCost | None:
    """The costs beside the server; None where the student's is not known."""
    if costs is None or costs.student is None:
        return None
    return ServingCost(
        per_thousand_calls=costs.student, teacher_per_thousand_calls=costs.teacher, currency=costs.currency
    )


def _of_tokens(table: Evaluation | None, pricing: Pricing | None) -> float | None:
    """A call of the teacher costs the tokens that it took for a held-out row, on average."""
    teacher = table.teacher if table else None
    if teacher is None or pricing is None or teacher.prompt_tokens is None or teacher.answer_tokens is None:
        return None
    cost = teacher.prompt_tokens * pricing.input_per_million + teacher.answer_tokens * pricing.output_per_million
    return round(_CALLS * cost / _MILLION, _DECIMALS)


def _of_usage(usage: Usage | None) -> float | None:
    """Where the table has no tokens of the teacher, the mean of what the generate stage has paid."""
    if usage is None or usage.cost is None or not usage.requests:
        return None
    return round(_CALLS * usage.cost / usage.requests, _DECIMALS)


def _of_server(cost_per_hour: float | None, verification: Verification | None) -> float | None:
    measured = verification.measurement if verification else None
    if cost_per_hour is None or measured is None or not measured.requests_per_second:
        return None
    return round(_CALLS * cost_per_hour / _SECONDS_PER_HOUR / measured.requests_per_second, _DECIMALS)
