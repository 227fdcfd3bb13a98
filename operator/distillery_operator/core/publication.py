"""The push of the newest student to a registry (`serving.modelImage`): after the quality gate, before the rollout.

Like verify, publish is not among the stages that lead to the evaluation: a student that fails the gate is pushed
nowhere.
"""

from __future__ import annotations

from distillery_api.stage import Stage
from distillery_operator.core.gated_rollout import meets_gate
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageStates, joined_states, stage_state


def with_publish(situation: Situation, states: StageStates) -> StageStates:
    """The states with that of publish, once the newest student has passed the gate."""
    if not situation.plan.publishes or not meets_gate(situation, states):
        return states
    publish = stage_state(situation, situation.plan.stage(Stage.PUBLISH))
    return joined_states(situation, (*states.stages, publish))
