"""What one Distillation's server has to do with the rollout of the fleet, which moves every server to the Pod template
of the present installation, one after the other.
"""

from __future__ import annotations

from enum import StrEnum

from distillery_api.status import ConditionStatus, ConditionType
from distillery_operator.core.rollback import restart_of
from distillery_operator.core.runs import known_verification
from distillery_operator.core.servers import deployed_server, is_outdated
from distillery_operator.core.situation import Situation, find_condition
from distillery_operator.manifests.server import Server


class FleetState(StrEnum):
    """Where a server is in the rollout of the fleet."""

    CURRENT = "Current"
    """Nothing has to be done, or can be: there is no server, or it is not ready for other causes."""
    OUTDATED = "Outdated"
    """It is ready, and waits for its turn."""
    UNREADY = "Unready"
    """It is outdated as well, and not ready at this moment."""
    MOVING = "Moving"
    """It was moved, and is not verified yet."""
    FAILED = "Failed"
    """It could not be moved, and serves as before."""


def fleet_state(situation: Situation) -> FleetState:
    """Where the server of this Distillation is in the rollout of the fleet that is asked for."""
    deployed, fleet = deployed_server(situation), situation.settings.fleet_rollout
    if deployed is None or fleet is None or not _has_pods(situation):
        return FleetState.CURRENT
    if _has_failed(situation, deployed, fleet):
        return FleetState.FAILED
    if situation.plan.suspended:
        return FleetState.CURRENT  # Its server cannot be verified now, which must not hold up all others.
    if deployed.fleet == fleet:
        verified = known_verification(situation, deployed.digest) is not None
        return FleetState.CURRENT if verified or _holds_up_nobody(situation) else FleetState.MOVING
    if not is_outdated(situation, deployed):
        return FleetState.CURRENT
    return FleetState.OUTDATED if _holds(situation, ConditionType.READY) else FleetState.UNREADY


def _has_pods(situation: Situation) -> bool:
    """Whether there are to be Pods of its own: the student of a guest is moved with the server of its host."""
    plan = situation.plan
    return plan.served and plan.host is None and plan.spec.serving.replicas > 0


def _holds_up_nobody(situation: Situation) -> bool:
    """Whether a moved server is not verified before a person helps, or a new student is evaluated."""
    waits = (_holds(situation, kind) for kind in (ConditionType.STALLED, ConditionType.SUSPENDED))
    return any(waits) or not _holds(situation, ConditionType.EVALUATED)


def _holds(situation: Situation, kind: ConditionType) -> bool:
    condition = find_condition(situation.previous, kind)
    return condition is not None and condition.status is ConditionStatus.TRUE


def _has_failed(situation: Situation, deployed: Server, fleet: str) -> bool:
    """Whether what failed last is this server's move."""
    failed = situation.previous.serving and situation.previous.serving.failed_rollout
    if not failed or situation.retry_requested:
        return False
    return failed.server == restart_of(situation, _moved(situation, deployed, fleet))


def _moved(situation: Situation, deployed: Server, fleet: str) -> Server:
    """The deployed server as the rollout of the fleet asks for it; its template does not matter here."""
    restarted_at = situation.plan.restart_at
    return Server(deployed.model, deployed.identity, {}, "", restarted_at, fleet)
