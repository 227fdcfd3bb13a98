"""The state of the stages and of the server in one situation, worked out once; actions, status and requeue follow."""

from __future__ import annotations

from dataclasses import dataclass

from distillery_operator.core.publication import with_publish
from distillery_operator.core.serving_rollout import Rollout, serving_rollout, with_failure
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageStates, stage_states
from distillery_operator.core.verification import with_planned_verify, with_verify


@dataclass(frozen=True)
class Assessment:
    """A situation, and the states of the stages and of the rollout that follow from it."""

    situation: Situation
    stages: StageStates
    rollout: Rollout


def assess(situation: Situation) -> Assessment:
    """What the situation means."""
    stages = with_publish(situation, stage_states(situation))
    rollout = serving_rollout(situation, stages)
    situation = with_planned_verify(situation, stages, rollout)
    stages = with_verify(situation, stages, rollout)
    return Assessment(situation, stages, with_failure(situation, stages, rollout))
