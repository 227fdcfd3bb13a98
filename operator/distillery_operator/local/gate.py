"""The quality gate of a local run."""

from __future__ import annotations

from collections.abc import Iterable

from distillery_api.evaluation import GateVerdict
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_operator.core.gate import gate_verdict
from distillery_operator.planning.plan import Plan


def local_verdict(plan: Plan, results: Iterable[StageResult]) -> GateVerdict | None:
    """What the gate says of the results, once evaluate is done; None without a gate."""
    gate = plan.spec.evaluation.gate
    done = (each for each in results if each.stage is Stage.EVALUATE and each.state is StageOutcome.DONE)
    evaluated = next(done, None)
    return gate_verdict(gate, evaluated.evaluation) if gate and evaluated else None


def failed_gate(plan: Plan, results: Iterable[StageResult]) -> GateVerdict | None:
    """The gate's verdict where the student fails it."""
    verdict = local_verdict(plan, results)
    return verdict if verdict and not verdict.met else None
