"""Which student answers at this moment, and whether it is known to answer as its evaluation did.

During a rollout that is still the student from before, whatever the Deployment describes already.
"""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionStatus, ConditionType
from distillery_api.verification import Verification
from distillery_operator.core.assessment import Assessment
from distillery_operator.core.runs import known_verification, run_named
from distillery_operator.core.servers import answering_servers, deployed_server
from distillery_operator.core.serving_rollout import RolloutPhase
from distillery_operator.core.situation import Situation, find_condition
from distillery_operator.manifests.server import Server


@dataclass(frozen=True)
class Availability:
    """Whether a student is available, and why."""

    holds: bool
    reason: Reason
    message: str


def answering(assessment: Assessment) -> tuple[Server, ...]:
    """The servers that answer; of two adapters in the same Pods, the one from before until the new one is verified."""
    servers = answering_servers(assessment.situation)
    if len(servers) < 2 or servers[0].pods != servers[1].pods:
        return servers
    return servers[1:] if verification_of(assessment, servers[1]) else servers[:1]


def served_server(assessment: Assessment) -> Server | None:
    """The server that answers; of two during a rollout, the one from before. Where none does, the one that is to. Until
    a candidate takes over, it is the stable server also while only the candidate answers: where somebody deletes its
    Deployment, it is made again."""
    situation, step = assessment.situation, assessment.rollout.canary
    if step and not step.takes_over:
        return step.stable
    servers = answering(assessment)
    return servers[0] if servers else deployed_server(situation) or assessment.rollout.server


def candidate(assessment: Assessment) -> Server | None:
    """The server that is being rolled out while another one still answers."""
    served, rollout = served_server(assessment), assessment.rollout
    server = rollout.canary.candidate if rollout.canary else rollout.server
    return server if served and server and served.digest != server.digest else None


def verification_of(assessment: Assessment, server: Server) -> Verification | None:
    """How that server answered rows of the evaluation; None where it is not verified."""
    verify, wanted = assessment.stages.done(Stage.VERIFY), assessment.rollout.wanted
    if verify and verify.record and verify.record.verification and wanted and wanted.digest == server.digest:
        return verify.record.verification.model_copy(update={"server": server.digest})
    return known_verification(assessment.situation, server.digest)


def availability(assessment: Assessment) -> Availability:
    """A student is available once its server is, and has answered rows of the evaluation as it did there."""
    servers, deployed = answering(assessment), deployed_server(assessment.situation)
    if deployed is None:
        return Availability(False, Reason.NOT_STARTED, "no student is served")
    if not servers:
        return _silence(assessment, deployed.model.model_path)
    paths = " and ".join(dict.fromkeys(server.model.model_path for server in servers))
    if is_taken_over(assessment, servers[0]):
        return Availability(True, Reason.SERVING, f"a server of {paths} is available, and not verified yet")
    return _of_answering(assessment, servers, paths)


def _of_answering(assessment: Assessment, servers: tuple[Server, ...], paths: str) -> Availability:
    unverified = [server.model.model_path for server in servers if verification_of(assessment, server) is None]
    if not unverified:
        return Availability(True, Reason.SERVING, f"a server of {paths} is available")
    if len(unverified) < len(servers):
        message = f"servers of {paths} answer; that of {unverified[0]} is not verified yet"
        return Availability(True, Reason.SERVING, message)
    if _was_verified(assessment, servers[0]):
        message = f"a server of {paths} is available; it was changed since it was verified, and is verified again later"
        return Availability(True, Reason.SERVING, message)
    return Availability(False, Reason.VERIFYING, f"the server of {paths} answers, but is not verified")


def _was_verified(assessment: Assessment, server: Server) -> bool:
    """Whether the student was verified behind an earlier server, and is not being verified behind this one: a new
    student is being made, takes over or has failed, or nothing may run."""
    situation, current, wanted = assessment.situation, assessment.stages.current, assessment.rollout.wanted
    run = run_named(situation, server.model.train_hash)
    is_verified_now = current.planned.stage is Stage.VERIFY and wanted is not None and wanted.digest == server.digest
    waits = not is_verified_now or situation.plan.suspended or assessment.rollout.failed
    return bool(waits) and run is not None and run.verification is not None


def _silence(assessment: Assessment, path: str) -> Availability:
    """Why no Pod answers."""
    if assessment.rollout.phase is RolloutPhase.YIELDED:
        stage = assessment.stages.current.planned.stage
        message = f"the server of {path} is stopped while {stage} uses its GPU, and starts again afterwards"
        return Availability(False, Reason.YIELDED_GPU, message)
    problem = assessment.rollout.problem if assessment.situation.plan.host else None
    if problem:
        return Availability(False, problem.reason or Reason.ROLLING_OUT, problem.message)
    return Availability(False, Reason.ROLLING_OUT, f"no server of {path} is available")


def is_taken_over(assessment: Assessment, server: Server) -> bool:
    """Whether a release without verification served this student, and verify has not run yet."""
    situation, states = assessment.situation, assessment.stages
    serving = situation.previous.serving
    if serving is None or serving.model_path != server.model.model_path or serving.verification:
        return False
    verify = states.current.record if states.current.planned.stage is Stage.VERIFY else None
    has_run = verify is not None and (verify.completion_time is not None or verify.reason is not None)
    return not has_run and bool(serving.taken_over or _is_of_release_without_verification(situation))


def _is_of_release_without_verification(situation: Situation) -> bool:
    available = find_condition(situation.previous, ConditionType.AVAILABLE)
    was_available = available is not None and available.status is ConditionStatus.TRUE
    return was_available and find_condition(situation.previous, ConditionType.VERIFIED) is None
