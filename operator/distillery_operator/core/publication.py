"""The push of the newest student to a registry (`serving.modelImage`) or a model hub (`publication.hub`): after the
quality gate, before the rollout.

Like verify, publish is not among the stages that lead to the evaluation: a student that fails the gate is pushed
nowhere.
"""

from __future__ import annotations

from distillery_api.stage import Stage
from distillery_operator.core.gated_rollout import meets_gate
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageState, StageStates, joined_states, stage_state


def with_publish(situation: Situation, states: StageStates) -> StageStates:
    """The states with that of publish, once the newest student has passed the gate."""
    if not situation.plan.publishes or not meets_gate(situation, states):
        return states
    publish = stage_state(situation, situation.plan.stage(Stage.PUBLISH))
    return joined_states(situation, (*states.stages, publish))


def push_of_pinned_run(situation: Situation, states: StageStates) -> StageState | None:
    """The stage that is awaited where the run that is pinned is the newest, and can be served once it is pushed."""
    plan, pinned = situation.plan, situation.plan.spec.serving.pinned_run
    is_newest = plan.model_image is not None and pinned == plan.stage(Stage.TRAIN).input_hash
    if not is_newest or (states.done(Stage.EVALUATE) and not meets_gate(situation, states)):
        return None
    publish = (state for state in states.stages if state.planned.stage is Stage.PUBLISH)
    return next(publish, states.current)
