"""Whether the student that is being served has answered rows of the evaluation as it did there.

Verify comes after the rollout of the newest student, and so is not among the stages that lead to it. It also asks an
earlier student whose server was changed while the newest one is made, where no other stage is under way.
"""

from __future__ import annotations

from dataclasses import replace

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import StageStatus
from distillery_operator.core.failed_attempt import given_up
from distillery_operator.core.gated_rollout import may_be_rolled_out
from distillery_operator.core.problem import Problem
from distillery_operator.core.runs import inputs_of, known_verification, pinned_run, run_named, train_hash
from distillery_operator.core.serving_rollout import Rollout
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StagePhase, StageState, StageStates, joined_states, stage_state
from distillery_operator.manifests.cluster_plan import plan_with_verify
from distillery_operator.manifests.server import Server
from distillery_operator.planning.plan import PlannedStage

_WITHOUT_JOB = frozenset({StagePhase.STARTING, StagePhase.WAITING, StagePhase.BACKING_OFF, StagePhase.FAILED})
_AT_WORK = frozenset({StagePhase.STARTING, StagePhase.UNDER_WAY, StagePhase.REPLACING})
_SCALED_TO_ZERO = Problem(None, "serving is scaled to zero; the student is verified once it is scaled up")


def with_planned_verify(situation: Situation, states: StageStates, rollout: Rollout) -> Situation:
    """The situation with verify planned for the server that there should be, once that may be verified."""
    wanted, plan = rollout.wanted, replace(situation.plan, asks_candidate=rollout.canary is not None)
    if wanted is None:
        return situation
    evaluated = states.done(Stage.EVALUATE) is not None
    if evaluated and _is_newest(situation, wanted):
        return replace(situation, plan=plan_with_verify(plan, wanted))
    if not (_is_due(situation, states, wanted) if evaluated else _is_due_meanwhile(situation, states, rollout)):
        return situation
    return replace(situation, plan=plan_with_verify(plan, wanted, _earlier_inputs(situation, wanted)))


def with_verify(situation: Situation, states: StageStates, rollout: Rollout) -> StageStates:
    """The states of all stages. Verify begins once the newest student is evaluated, and pushed if need be; before that,
    the server of an earlier one may be verified where no other stage is under way."""
    if not situation.plan.served:
        return states
    if states.done(Stage.EVALUATE) is None or states.current.phase is not StagePhase.DONE:
        return _verified_meanwhile(situation, states, rollout)
    if not _is_due(situation, states, rollout.wanted):
        return states
    planned = situation.plan.stage(Stage.VERIFY)
    waiting = replace(situation, unserved=_unserved(situation, rollout))
    verify = _verified_before(situation, planned, rollout) or stage_state(waiting, planned)
    return joined_states(situation, (*states.stages, verify))


def _verified_meanwhile(situation: Situation, states: StageStates, rollout: Rollout) -> StageStates:
    """The states with verify before a stage without a Job: a server that was changed while the next student is made
    is verified as soon as there is a moment for it. Where verify itself does not go on, the other stage does."""
    if not _is_due_meanwhile(situation, states, rollout):
        return states
    verify = stage_state(situation, situation.plan.stage(Stage.VERIFY))
    if verify.phase in _AT_WORK and verify.problem is None:
        return joined_states(situation, (*states.stages[:-1], _held(states.current), verify))
    if verify.phase in _AT_WORK and verify.problem and verify.record:
        record = given_up(verify.record, verify.problem, situation.now)
        verify = replace(verify, phase=StagePhase.FAILED, record=record)
    # Its Job makes room for that of the other stage.
    return replace(states, stages=(*states.stages[:-1], verify, states.current))


def _held(state: StageState) -> StageState:
    """The stage that waits for verify. An attempt that was to begin now is recorded, as what it was asked for with is
    handled, and begins once verify has ended; its Pods are still to be checked."""
    if state.phase is not StagePhase.STARTING or state.checked or state.record is None:
        return state
    return replace(state, record=state.record.model_copy(update={"configuration": None}))


def _is_due_meanwhile(situation: Situation, states: StageStates, rollout: Rollout) -> bool:
    """Whether the server that answers is to be verified before the current stage begins, or goes on."""
    server, current = rollout.wanted, states.current
    if server is None or not rollout.can_be_verified or rollout.canary or situation.plan.suspended:
        return False
    is_known = bool(_earlier_inputs(situation, server)) and situation.replicas > 0
    return current.phase in _WITHOUT_JOB and is_known and known_verification(situation, server.digest) is None


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
