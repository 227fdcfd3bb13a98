"""Rollouts that fail go back by themselves to the server that answered well before.

A failed rollout is written to the status first, and the server that served before comes back in the next
reconciliation: an operator that dies in between carries on there. What failed is not tried again until somebody asks
for another server, or for a retry.
"""

from __future__ import annotations

from dataclasses import replace

from distillery_api.formatting import shortened
from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import FailedRollout
from distillery_operator.core.problem import STAGE_MESSAGE_LIMIT, Problem
from distillery_operator.core.runs import known_verification
from distillery_operator.core.servers import deployed_server, fallback_server, served_model, server_for
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import StagePhase, StageStates
from distillery_operator.manifests.server import Server
from distillery_operator.manifests.serving import restarted_server
from distillery_operator.planning.identity import digest


def restart_of(situation: Situation, server: Server) -> str:
    """The restart, or the turn in the rollout of the fleet, that made this server of one with the same identity: the
    same until somebody asks for another one."""
    return digest({**_fields_of_change(situation, server), "restart": server.restarted_at, "fleet": server.fleet})


def known_failure(situation: Situation, wanted: Server) -> FailedRollout | None:
    """The failed rollout of what is wanted, unless it is to be tried again."""
    failed = situation.previous.serving and situation.previous.serving.failed_rollout
    if not failed or situation.retry_requested or not _is_of(situation, failed, wanted):
        return None
    return failed


def earlier_server(situation: Situation, failed: FailedRollout, wanted: Server) -> Server | None:
    """The server to go back to from what is wanted, or that has been gone back to."""
    deployed, fallback = deployed_server(situation), fallback_server(situation)
    has_gone_back = deployed is not None and not _is_of(situation, failed, deployed)
    earlier = deployed if has_gone_back else fallback
    if earlier is None:
        return _made_again(situation, failed)
    is_restart = failed.server != _change_to(situation, wanted)
    return earlier if is_restart else _with_restart(situation, earlier, is_new=has_gone_back)


def _is_of(situation: Situation, failed: FailedRollout, server: Server) -> bool:
    """Whether that is what failed. Another student or server stays so, whatever is restarted meanwhile."""
    return failed.server in (_change_to(situation, server), restart_of(situation, server))


def _change_to(situation: Situation, server: Server) -> str:
    """The change of the student or of `spec.serving` that this server follows from."""
    return digest(_fields_of_change(situation, server))


def _fields_of_change(situation: Situation, server: Server) -> dict[str, str]:
    return {"evaluate": situation.plan.stage(Stage.EVALUATE).input_hash, "identity": server.identity}


def _with_restart(situation: Situation, earlier: Server, *, is_new: bool) -> Server:
    """The server that serves after another one has failed, restarted where that is requested since: other Pods from its
    own template, since that of the present spec may be what failed. It goes back with the Pods that it had."""
    requested = situation.plan.restart_at
    if requested in (None, earlier.restarted_at):
        return earlier
    return restarted_server(earlier, requested) if is_new else replace(earlier, restarted_at=requested)


def _made_again(situation: Situation, failed: FailedRollout) -> Server | None:
    """The server of the student that served, where somebody has deleted the Deployment that stored it."""
    model = served_model(situation) if deployed_server(situation) is None else None
    return server_for(situation, model) if model and model.train_hash != failed.train else None


def new_failure(
    situation: Situation, states: StageStates, server: Server, problem: Problem | None
) -> FailedRollout | None:
    """The failure of the rollout of `server`, where another one can serve instead; `problem` is what only a person can
    repair."""
    deployed, fallback = deployed_server(situation), fallback_server(situation)
    if deployed is None or deployed.digest != server.digest or fallback is None or fallback.digest == server.digest:
        return None
    if situation.plan.host and fallback.model == server.model:
        return None  # Other Pods of a shared server: only its host can go back.
    why = problem or _failed_verification(states)
    return _failure(situation, server, why) if why and not _has_served_well(situation, server) else None


def candidate_failure(
    situation: Situation, states: StageStates, candidate: Server, problem: Problem | None
) -> FailedRollout | None:
    """The failure of a candidate beside the server that it is to replace."""
    why = problem or _failed_verification(states)
    return _failure(situation, candidate, why) if why else None


def _request_of(situation: Situation, server: Server) -> str:
    """What was asked for when the rollout of this server began."""
    fallback = fallback_server(situation)
    is_restart = fallback is not None and fallback.identity == server.identity
    return (restart_of if is_restart else _change_to)(situation, server)


def _failure(situation: Situation, server: Server, why: Problem) -> FailedRollout:
    return FailedRollout(
        server=_request_of(situation, server),
        train=server.model.train_hash,
        reason=why.reason or Reason.ROLLOUT_FAILED,
        message=shortened(why.message, STAGE_MESSAGE_LIMIT),
        time=situation.now,
    )


def _has_served_well(situation: Situation, server: Server) -> bool:
    """Whether this rollout of the server was complete and verified: what fails later is no failed rollout."""
    before = situation.previous.serving
    rolled_out = before is not None and before.server == server.digest
    return rolled_out and known_verification(situation, server.digest) is not None


def _failed_verification(states: StageStates) -> Problem | None:
    """Why the server was found to answer otherwise than the evaluation. That nobody could ask it says nothing of it."""
    failed = (state for state in states.stages if state.phase is StagePhase.FAILED)
    verify = next((state for state in failed if state.planned.stage is Stage.VERIFY), None)
    problem = verify.problem if verify else None
    return problem if problem and problem.reason is Reason.VERIFICATION_FAILED else None
