"""Which student is to be served, and how far the rollout of its server is.

A server is never taken away for a student that is not evaluated, or fails the quality gate: until then it serves the
student it has, with the replicas and resources that the spec asks for now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import FailedRollout
from distillery_operator.core.canary import Canary, canary, unsettled_server
from distillery_operator.core.gated_rollout import may_be_rolled_out, newest_image
from distillery_operator.core.name_conflicts import candidate_name_conflict, server_name_conflict
from distillery_operator.core.observation import Ownership
from distillery_operator.core.problem import Problem
from distillery_operator.core.rollback import candidate_failure, earlier_server, known_failure, new_failure
from distillery_operator.core.runs import known_verification, model_of, pinned_run
from distillery_operator.core.served_adapters import names_adapters
from distillery_operator.core.server_manifests import candidate_manifests, server_manifests
from distillery_operator.core.server_progress import ServerProgress, server_progress
from distillery_operator.core.servers import (
    answering_servers,
    candidate_server,
    deployed_server,
    fallback_server,
    served_model,
    server_for,
)
from distillery_operator.core.shared_server import unusable_host
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StageStates, last_evaluation
from distillery_operator.core.take_over import candidate_stands_in, is_to_stand_in
from distillery_operator.core.workspace import workspace_problem
from distillery_operator.core.yielded_server import is_yielded, without_pods
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.server import ServedModel, Server
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan


class RolloutPhase(StrEnum):
    """Where the server is."""

    OFF = "Off"
    """The spec asks for no server."""
    NOTHING = "Nothing"
    """There is no student to serve yet."""
    YIELDED = "Yielded"
    """It is stopped for a stage that uses its GPU."""
    ROLLING_OUT = "RollingOut"
    SERVING = "Serving"


@dataclass(frozen=True)
class Rollout:
    """The server as it is and as it should be."""

    phase: RolloutPhase
    manifests: tuple[Manifest, ...] = ()
    """The Deployment, the Service and what belongs to them, as they should exist."""
    server: Server | None = None
    """The server that should exist."""
    wanted: Server | None = None
    """The server that is asked for: another one than `server` where its rollout failed."""
    failed: FailedRollout | None = None
    """The failed rollout of what is asked for."""
    problem: Problem | None = None
    stalled: bool = False
    """Whether only a person can help."""
    blocked_since: datetime | None = None
    canary: Canary | None = None
    """How `wanted` is to replace `server`, where it does so by a canary."""
    drops_candidate: bool = False
    """Whether the objects of a candidate are to be deleted."""

    @property
    def can_be_verified(self) -> bool:
        """Whether what is wanted answers: behind the Service, or as a candidate behind its own."""
        serves = self.phase is RolloutPhase.SERVING and self.server == self.wanted
        return serves or (self.canary is not None and self.canary.answers)


def serving_rollout(situation: Situation, states: StageStates) -> Rollout:
    """What is served, or to be served, at this moment."""
    if not situation.plan.served:
        return Rollout(RolloutPhase.OFF)
    lost = workspace_problem(situation)
    if lost:
        return _without_workspace(situation, lost)
    wanted = _wanted_server(situation, states)
    if wanted is None:
        return Rollout(RolloutPhase.NOTHING)
    failed, missing = known_failure(situation, wanted), unusable_host(situation)
    if missing:
        rolling_out = _rolling_out((), deployed_server(situation), missing)
        return replace(rolling_out, wanted=wanted, failed=failed)
    server = _earlier_server(situation, failed, wanted) if failed else None
    if server:
        rollout = replace(_rollout_of(situation, states, server), failed=failed)
    else:
        rollout = _rollout_to(situation, states, wanted)
    return replace(rollout, wanted=wanted, drops_candidate=_drops_candidate(situation, rollout))


def _earlier_server(situation: Situation, failed: FailedRollout, wanted: Server) -> Server | None:
    """The server to go back to; on a shared one, in the Pods of today."""
    server = earlier_server(situation, failed, wanted)
    return server_for(situation, server.model) if server and situation.plan.host else server


def _without_workspace(situation: Situation, lost: Problem) -> Rollout:
    """What serves goes on as it is. From the workspace, a new Pod would not start, or find nothing to serve."""
    deployed = deployed_server(situation)
    manifests = () if deployed is None or deployed.uses_workspace else server_manifests(situation, deployed)
    return Rollout(RolloutPhase.ROLLING_OUT, manifests, deployed, problem=lost, stalled=True)


def with_failure(situation: Situation, states: StageStates, rollout: Rollout) -> Rollout:
    """The rollout, with its failure where it has just failed and another server can serve."""
    if rollout.server is None or rollout.wanted is None or rollout.failed or situation.retry_requested:
        return rollout
    conflict = rollout.problem is not None and rollout.problem.reason is Reason.NAME_CONFLICT
    # What keeps a shared server from answering is no fault of the student's.
    counts = rollout.stalled and not conflict and situation.plan.host is None
    problem = rollout.problem if counts else None
    if rollout.canary and not rollout.canary.takes_over:
        return replace(rollout, failed=candidate_failure(situation, states, rollout.canary.candidate, problem))
    return replace(rollout, failed=new_failure(situation, states, rollout.server, problem))


def _rollout_to(situation: Situation, states: StageStates, wanted: Server) -> Rollout:
    """The rollout of what is wanted. While a canary may not go on, the server before serves as it is."""
    step = canary(situation, states, wanted)
    if step is None:
        return _settling(situation, states, wanted) or _rollout_of(situation, states, wanted)
    if step.takes_over:
        # The Service is to lead to the candidate before the first Pod of the server goes.
        waits = is_to_stand_in(situation)
        return _canary_rollout(situation, step) if waits else _taking_over(situation, states, step)
    if situation.plan.suspended or is_yielded(situation, states):
        return _rollout_of(situation, states, step.stable)
    return _canary_rollout(situation, step)


def _taking_over(situation: Situation, states: StageStates, step: Canary) -> Rollout:
    return replace(_rollout_of(situation, states, step.candidate), canary=step)


def _settling(situation: Situation, states: StageStates, wanted: Server) -> Rollout | None:
    """The rollout of the deployed server, which what is wanted is to replace by a canary once it answers, or the one
    before it answers again; None where nothing is to be waited for."""
    deployed = unsettled_server(situation, wanted)
    if deployed is None:
        return None
    failed = known_failure(situation, deployed)
    server = earlier_server(situation, failed, deployed) if failed else deployed
    rollout = _rollout_of(situation, states, server) if server else None
    if rollout is None or (rollout.stalled and fallback_server(situation) is None):
        return None
    phase = RolloutPhase.ROLLING_OUT if rollout.phase is RolloutPhase.SERVING else rollout.phase
    return replace(rollout, phase=phase, failed=failed)


def _canary_rollout(situation: Situation, step: Canary) -> Rollout:
    manifests = (*server_manifests(situation, step.stable, step), *candidate_manifests(situation, step))
    conflict = server_name_conflict(situation) or candidate_name_conflict(situation)
    progress = ServerProgress(conflict, stalled=True) if conflict else step.progress
    return replace(_rolling_out(manifests, step.stable, progress), canary=step)


def _rollout_of(situation: Situation, states: StageStates, server: Server) -> Rollout:
    manifests = server_manifests(situation, server)
    conflict = server_name_conflict(situation)
    if conflict:
        return Rollout(RolloutPhase.ROLLING_OUT, manifests, server, problem=conflict, stalled=True)
    if is_yielded(situation, states):
        return Rollout(RolloutPhase.YIELDED, _stopped(manifests), server)
    return _progress(situation, server, manifests)


def service_url(plan: Plan) -> str:
    """Base URL of the student's API inside the cluster."""
    return names.service_url(plan.name, plan.namespace)


def _wanted_server(situation: Situation, states: StageStates) -> Server | None:
    """The server of the newest student once it may be rolled out, or of the run that is pinned; until then that of the
    student that is served."""
    deployed, suspended = deployed_server(situation), situation.plan.suspended
    pinned = pinned_run(situation)
    if pinned and not suspended:
        return server_for(situation, model_of(situation, pinned))
    is_pinned = situation.plan.spec.serving.pinned_run is not None
    if may_be_rolled_out(situation, states) and not suspended and not is_pinned:
        return server_for(situation, _newest_model(situation, states, deployed))
    served = served_model(situation)
    return server_for(situation, served) if served else None


def _newest_model(situation: Situation, states: StageStates, deployed: Server | None) -> ServedModel:
    table = last_evaluation(situation, states)
    train_hash = situation.plan.stage(Stage.TRAIN).input_hash
    precision = table.precision if table else None
    if precision is None and deployed and deployed.model.train_hash == train_hash:
        precision = deployed.model.precision  # A lost result table makes it no other student.
    return ServedModel.planned(situation.plan, train_hash, precision, newest_image(states))


def _drops_candidate(situation: Situation, rollout: Rollout) -> bool:
    """Whether no candidate is needed. One that takes over, or was to, answers until the server's own Pods do."""
    seen, server = situation.observation.candidate, rollout.server
    same = seen is not None and server is not None and seen.digest == server.digest
    is_needed = (same or candidate_stands_in(situation)) and rollout.phase is RolloutPhase.ROLLING_OUT
    goes_on = rollout.canary is not None or is_needed
    return bool(rollout.manifests) and not goes_on


def _progress(situation: Situation, server: Server, manifests: tuple[Manifest, ...]) -> Rollout:
    seen = situation.observation.deployment
    if seen is None or seen.ownership is not Ownership.OURS or seen.digest != server.digest:
        return Rollout(RolloutPhase.ROLLING_OUT, manifests, server)
    # How many Pods there are is left to whoever scales them: that makes it no other rollout.
    answers = seen.rolled_out or _answers_still(situation, server)
    if answers and _has_service(situation) and names_adapters(situation, manifests):
        return Rollout(RolloutPhase.SERVING, manifests, server)
    return _rolling_out(manifests, server, server_progress(situation, seen))


def _rolling_out(manifests: tuple[Manifest, ...], server: Server | None, progress: ServerProgress) -> Rollout:
    return Rollout(
        RolloutPhase.ROLLING_OUT,
        manifests,
        server,
        problem=progress.problem,
        stalled=progress.stalled,
        blocked_since=progress.blocked_since,
    )


def _answers_still(situation: Situation, server: Server) -> bool:
    """Whether the server's Pods have replaced all others before, and one of them answers, or none is wanted."""
    candidate, before = candidate_server(situation), situation.previous.serving
    if candidate and candidate.digest == server.digest:
        return False  # Its Pods answer, and those of the server's own Deployment are still to come.
    rolled_out = before is not None and before.server == server.digest
    if not (rolled_out or known_verification(situation, server.digest)):
        return False
    return server in answering_servers(situation) or situation.replicas == 0


def _has_service(situation: Situation) -> bool:
    """Whether the Service exists: an operator may have died before it created one."""
    service = situation.observation.service
    return service is not None and service.ownership is Ownership.OURS


def _stopped(manifests: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
    return tuple(without_pods(each) if each["kind"] == "Deployment" else each for each in manifests)
