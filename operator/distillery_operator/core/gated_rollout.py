"""Whether the newest student may take over from the one that is served: once it is evaluated and has passed the quality
gate, if the spec has one."""

from __future__ import annotations

from distillery_api.evaluation import GateVerdict
from distillery_api.stage import Stage
from distillery_operator.core.gate import gate_verdict
from distillery_operator.core.serving_student import serving_student
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageStates, last_evaluation


def verdict_on_newest(situation: Situation, states: StageStates) -> GateVerdict | None:
    """What the gate says about the newest student; None before it is evaluated, and without a gate."""
    gate = situation.plan.spec.evaluation.gate
    if gate is None or states.done(Stage.EVALUATE) is None:
        return None
    serving = serving_student(situation)
    return gate_verdict(gate, last_evaluation(situation, states), serving.hash if serving else None)


def may_be_rolled_out(situation: Situation, states: StageStates) -> bool:
    """Whether the newest student is evaluated and has not failed the gate."""
    verdict = verdict_on_newest(situation, states)
    return states.done(Stage.EVALUATE) is not None and (verdict is None or verdict.met)
