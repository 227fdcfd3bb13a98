"""How the Pods of a server's Deployment come along, and when only a person can help them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from distillery_api.reasons import Reason
from distillery_operator.core.observation import ObservedDeployment
from distillery_operator.core.problem import Problem
from distillery_operator.core.retry_policy import BLOCKING_REASONS, lasting_since
from distillery_operator.core.situation import Situation

_CRASHES = frozenset({Reason.CONTAINER_OOM_KILLED, Reason.ROLLOUT_FAILED})


@dataclass(frozen=True)
class ServerProgress:
    """What keeps a server's Pods from being ready."""

    problem: Problem | None = None
    stalled: bool = False
    """Whether only a person can help."""
    blocked_since: datetime | None = None


NOTHING = ServerProgress()


def server_progress(situation: Situation, seen: ObservedDeployment, problem: Problem | None = None) -> ServerProgress:
    """What keeps the Pods of a Deployment from being ready; `problem` where they do not say so themselves."""
    since = blocked_since(situation, seen.problem or problem)
    stalled = situation.blocked_too_long(since) or _is_past_deadline(seen)
    return ServerProgress(_deadline_problem(seen) or seen.problem or problem, stalled, since)


def _is_past_deadline(seen: ObservedDeployment) -> bool:
    return seen.deadline_exceeded and seen.current


def _deadline_problem(seen: ObservedDeployment) -> Problem | None:
    if not _is_past_deadline(seen):
        return None
    why = f": {seen.problem.message}" if seen.problem else ""
    return Problem(Reason.ROLLOUT_FAILED, f"the server did not become ready before the rollout deadline{why}")


def blocked_since(situation: Situation, problem: Problem | None) -> datetime | None:
    """Since when a problem keeps a server from answering; the retry annotation asks for its whole time again."""
    if problem is None or problem.reason not in BLOCKING_REASONS | _CRASHES:
        return None
    before = None if situation.retry_requested else situation.previous.serving
    return lasting_since(before.blocked_since if before else None, situation.now)
