"""Whether the student that is being served has answered rows of the evaluation as it did there.

Verify comes after the rollout of the newest student, and so is not among the stages that lead to it.
"""

from __future__ import annotations

from dataclasses import replace

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionStatus, ConditionType
from distillery_api.verification import Verification
from distillery_operator.core.gated_rollout import may_be_rolled_out
from distillery_operator.core.observation import ObservedDeployment
from distillery_operator.core.problem import Problem
from distillery_operator.core.serving_rollout import Rollout, RolloutPhase
from distillery_operator.core.situation import Situation, find_condition
from distillery_operator.core.stages import StageStates, joined_states, stage_state
from distillery_operator.manifests.cluster_plan import plan_with_verify

_SCALED_TO_ZERO = Problem(None, "serving is scaled to zero; the student is verified once it is scaled up")


def with_planned_verify(situation: Situation, states: StageStates, rollout: Rollout) -> Situation:
    """The situation with verify planned for the server that there should be, once the newest student is evaluated."""
    newest = situation.plan.stage(Stage.TRAIN).input_hash
    if states.done(Stage.EVALUATE) is None or rollout.server is None or rollout.server.model.train_hash != newest:
        return situation
    return replace(situation, plan=plan_with_verify(situation.plan, rollout.server))


def with_verify(situation: Situation, states: StageStates, rollout: Rollout) -> StageStates:
    """The states of all stages: verify begins once the newest student is evaluated, and may be rolled out."""
    if not may_be_rolled_out(situation, states) or not situation.plan.served:
        return states
    waiting = replace(situation, unserved=_unserved(situation, rollout))
    verify = stage_state(waiting, situation.plan.stage(Stage.VERIFY))
    return joined_states(situation, (*states.stages, verify))


def _unserved(situation: Situation, rollout: Rollout) -> Problem | None:
    """Why the newest student cannot be asked yet."""
    if rollout.phase is not RolloutPhase.SERVING:
        return Problem(Reason.ROLLING_OUT, "waiting for the new student's server")
    if situation.plan.spec.serving.replicas:
        return None
    return _SCALED_TO_ZERO


def waits_for_scale_up(states: StageStates) -> bool:
    """Whether verify alone is left, and nobody wants a server that it could ask."""
    return states.current.problem == _SCALED_TO_ZERO


def served_verification(situation: Situation, states: StageStates) -> Verification | None:
    """How the student answered that is being served, the newest or an earlier one; None where it is not verified."""
    seen, verify = situation.observation.deployment, states.done(Stage.VERIFY)
    if seen is None:
        return None
    if verify and verify.record and verify.record.verification:
        return verify.record.verification.model_copy(update={"server": seen.digest})
    return _earlier_verification(situation, seen)


def _earlier_verification(situation: Situation, seen: ObservedDeployment) -> Verification | None:
    """A rollout replaces the verified server only where it is complete: until then, Pods of that server may answer."""
    serving = situation.previous.serving
    before = serving.verification if serving else None
    return before if before and (before.server == seen.digest or not seen.rolled_out) else None


def is_taken_over(situation: Situation, states: StageStates) -> bool:
    """Whether a release without verification served the student that is being served, and verify has not run yet."""
    serving, seen = situation.previous.serving, situation.observation.deployment
    if serving is None or seen is None or serving.model_path != seen.model_path or serving.verification:
        return False
    verify = states.current.record if states.current.planned.stage is Stage.VERIFY else None
    has_run = verify is not None and (verify.completion_time is not None or verify.reason is not None)
    return not has_run and bool(serving.taken_over or _is_of_release_without_verification(situation))


def _is_of_release_without_verification(situation: Situation) -> bool:
    available = find_condition(situation.previous, ConditionType.AVAILABLE)
    was_available = available is not None and available.status is ConditionStatus.TRUE
    return was_available and find_condition(situation.previous, ConditionType.VERIFIED) is None
