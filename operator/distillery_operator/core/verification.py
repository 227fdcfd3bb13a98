"""Whether the student that is being served has answered rows of the evaluation as it did there.

Verify comes after the rollout of the newest student, and so is not among the stages that lead to it.
"""

from __future__ import annotations

from dataclasses import replace

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import StageStatus
from distillery_operator.core.gated_rollout import may_be_rolled_out
from distillery_operator.core.problem import Problem
from distillery_operator.core.runs import inputs_of, known_verification, pinned_run, run_named, train_hash
from distillery_operator.core.serving_rollout import Rollout
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates, joined_states, stage_state
from distillery_operator.manifests.cluster_plan import plan_with_verify
from distillery_operator.manifests.server import Server
from distillery_operator.planning.plan import PlannedStage

_SCALED_TO_ZERO = Problem(None, "serving is scaled to zero; the student is verified once it is scaled up")


def with_planned_verify(situation: Situation, states: StageStates, rollout: Rollout) -> Situation:
    """The situation with verify planned for the server that there should be, once the newest student is evaluated."""
    wanted, plan = rollout.wanted, replace(situation.plan, asks_candidate=rollout.canary is not None)
    if wanted is None or states.done(Stage.EVALUATE) is None:
        return situation
    if _is_newest(situation, wanted):
        return replace(situation, plan=plan_with_verify(plan, wanted))
    if not _is_due(situation, states, wanted):
        return situation
    return replace(situation, plan=plan_with_verify(plan, wanted, _earlier_inputs(situation, wanted)))


def with_verify(situation: Situation, states: StageStates, rollout: Rollout) -> StageStates:
    """The states of all stages: verify begins once the newest student is evaluated."""
    if states.done(Stage.EVALUATE) is None or not situation.plan.served:
        return states
    if states.current.phase is not StagePhase.DONE:
        return states  # The newest student is being pushed to its registry.
    if not _is_due(situation, states, rollout.wanted):
        return states
    planned = situation.plan.stage(Stage.VERIFY)
    waiting = replace(situation, unserved=_unserved(situation, rollout))
    verify = _verified_before(situation, planned, rollout) or stage_state(waiting, planned)
    return joined_states(situation, (*states.stages, verify))


def _is_due(situation: Situation, states: StageStates, wanted: Server | None) -> bool:
    """Whether the server that there should be is to be verified: that of the student that the spec asks for, and that
    of an earlier one that serves on, where it was changed and its run is known."""
    if wanted is None:
        return may_be_rolled_out(situation, states)
    pinned, is_newest = pinned_run(situation), _is_newest(situation, wanted)
    if pinned and wanted.model.train_hash == train_hash(pinned):
        return True
    if is_newest and may_be_rolled_out(situation, states):
        return True
    known = is_newest or bool(_earlier_inputs(situation, wanted))
    return known and known_verification(situation, wanted.digest) is None


def _is_newest(situation: Situation, server: Server) -> bool:
    return server.model.train_hash == situation.plan.stage(Stage.TRAIN).input_hash


def _earlier_inputs(situation: Situation, server: Server) -> tuple[PlannedStage, ...]:
    """The stages of the run that made the server's student; empty where they are not known."""
    run = run_named(situation, server.model.train_hash)
    return inputs_of(run) if run else ()


def _verified_before(situation: Situation, planned: PlannedStage, rollout: Rollout) -> StageState | None:
    """Verify as it ended when the same server was verified earlier: it has served in between another one."""
    wanted, evaluate = rollout.wanted, situation.plan.evaluation_before(planned).input_hash
    run = run_named(situation, wanted.model.train_hash) if wanted else None
    if situation.recorded(planned) or wanted is None or run is None or run.verification is None:
        return None
    if run.evaluate != evaluate or run.verification.server != wanted.digest:
        return None
    record = StageStatus(
        name=planned.stage,
        input_hash=planned.input_hash,
        completion_time=run.served_time,
        verification=run.verification,
        message=run.verification.sentence(),
    )
    return StageState(planned, StagePhase.DONE, record)


def _unserved(situation: Situation, rollout: Rollout) -> Problem | None:
    """Why the newest student cannot be asked yet."""
    if rollout.failed:
        return Problem(Reason.ROLLING_OUT, "the new student's server could not be rolled out")
    if not rollout.can_be_verified:
        return Problem(Reason.ROLLING_OUT, "waiting for the new student's server")
    if situation.replicas:
        return None
    return _SCALED_TO_ZERO


def waits_for_scale_up(states: StageStates) -> bool:
    """Whether verify alone is left, and nobody wants a server that it could ask."""
    return states.current.problem == _SCALED_TO_ZERO
