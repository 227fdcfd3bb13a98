"""Whether the newest student may take over from the one that is served: once it is evaluated, has passed the quality
gate and is promoted, if the spec asks for these."""

from __future__ import annotations

from distillery_api.evaluation import GateVerdict
from distillery_api.spec import RolloutStrategy
from distillery_api.stage import Stage
from distillery_operator.core.gate import gate_verdict
from distillery_operator.core.servers import deployed_server
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
    """Whether the newest student is evaluated, has not failed the gate, is where servers find it, and waits for
    nobody."""
    return _can_be_served(situation, states) and not awaits_promotion(situation, states)


def awaits_promotion(situation: Situation, states: StageStates) -> bool:
    """Whether a person has to promote the newest student before it is rolled out."""
    serving, newest = situation.plan.spec.serving, situation.plan.stage(Stage.TRAIN).input_hash
    manual = serving.rollout.strategy is RolloutStrategy.MANUAL and situation.plan.served and not serving.pinned_run
    deployed = deployed_server(situation)
    is_deployed = deployed is not None and deployed.model.train_hash == newest
    return manual and not is_deployed and situation.plan.promoted != newest and _can_be_served(situation, states)


def newest_image(states: StageStates) -> str | None:
    """The newest student's image, once it is pushed."""
    publish = states.done(Stage.PUBLISH)
    return publish.record.model_image if publish and publish.record else None


def _can_be_served(situation: Situation, states: StageStates) -> bool:
    pushed = states.done(Stage.PUBLISH) is not None or not situation.plan.publishes
    return pushed and meets_gate(situation, states)


def meets_gate(situation: Situation, states: StageStates) -> bool:
    """Whether the newest student is evaluated, and has not failed the quality gate."""
    verdict = verdict_on_newest(situation, states)
    return states.done(Stage.EVALUATE) is not None and (verdict is None or verdict.met)
