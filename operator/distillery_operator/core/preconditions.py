"""What must hold before a Job may be created: an ordered list of checks."""

from __future__ import annotations

from collections.abc import Callable

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_operator.core.name_conflicts import candidate_name_conflict, server_name_conflict
from distillery_operator.core.observation import Ownership
from distillery_operator.core.problem import Problem, name_conflict, refusal_problem
from distillery_operator.core.routes import route_name_conflict
from distillery_operator.core.shared_server import shared_server_problem
from distillery_operator.core.situation import Situation
from distillery_operator.core.workspace import workspace_problem
from distillery_operator.manifests.method_needs import lacking_for_method

Precondition = Callable[[Situation], Problem | None]
"""Returns the problem where the precondition is not met."""

STALLING_REASONS = frozenset(
    {Reason.NAME_CONFLICT, Reason.INVALID_SPEC, Reason.WORKSPACE_LOST, Reason.WORKSPACE_CHANGED}
)
"""Reasons that no time removes: only a person can help. With any other reason the operator waits."""


def unmet_precondition(situation: Situation) -> Problem | None:
    """The first precondition that is not met."""
    problems = (check(situation) for check in PRECONDITIONS)
    return next((problem for problem in problems if problem), None)


def not_suspended(situation: Situation) -> Problem | None:
    """A suspended Distillation starts nothing."""
    return Problem(Reason.SUSPENDED, "spec.suspend is true") if situation.plan.suspended else None


def not_refused(situation: Situation) -> Problem | None:
    """The server accepts the Pods of all stages to come: a spec that must fail later should not start."""
    refused = next((each for each in situation.refusals if each.kind == "Pod"), None)
    return refusal_problem(refused) if refused else None


def given_claim_exists(situation: Situation) -> Problem | None:
    """A claim that storage.claimName names is for the user to create."""
    name = situation.plan.spec.storage.claim_name
    if name is None or situation.observation.claim is not None:
        return None
    return Problem(Reason.CONFIGURATION_MISSING, f"storage.claimName: the PersistentVolumeClaim {name} does not exist")


def nodes_can_mount_the_claim(situation: Situation) -> Problem | None:
    """Of a claim that storage.claimName names, only the claim itself says so."""
    nodes, claim = situation.plan.spec.training.nodes or 1, situation.observation.claim
    if nodes == 1 or claim is None or claim.shared:
        return None
    return Problem(
        Reason.INVALID_SPEC,
        f"training.nodes is {nodes}, and only one node can mount the claim {situation.plan.claim_name}; name one with"
        " the access mode ReadWriteMany in storage.claimName, or set training.nodes to 1",
    )


def workspace_is_the_same(situation: Situation) -> Problem | None:
    """Finished stages belong to one claim, which is there to stay."""
    return workspace_problem(situation)


def claim_not_terminating(situation: Situation) -> Problem | None:
    """Only once a claim is deleted can a new one have its name."""
    claim = situation.observation.claim
    if claim is None or claim.ownership is not Ownership.TERMINATING:
        return None
    return Problem(Reason.VOLUME_UNAVAILABLE, f"waiting for the claim {situation.plan.claim_name} to be deleted")


def claim_name_is_free(situation: Situation) -> Problem | None:
    """A foreign claim is used only where storage.claimName names it."""
    claim = situation.observation.claim
    if claim is None or claim.ownership is not Ownership.FOREIGN or situation.plan.spec.storage.claim_name is not None:
        return None
    return name_conflict("PersistentVolumeClaim", situation.plan.claim_name)


def server_names_are_free(situation: Situation) -> Problem | None:
    """Nothing is paid for a student that could not be served."""
    conflicts = (server_name_conflict, candidate_name_conflict, route_name_conflict)
    return next((problem for problem in (find(situation) for find in conflicts) if problem), None)


def shared_server_suits(situation: Situation) -> Problem | None:
    """Nor for one that the server of another Distillation cannot serve."""
    return shared_server_problem(situation)


def method_can_be_used(situation: Situation) -> Problem | None:
    """Nor for a training that needs what its Pod does not ask for."""
    plan = situation.plan
    lacking = lacking_for_method(plan.spec.training.method, plan.options(Stage.TRAIN))
    return Problem(Reason.INVALID_SPEC, lacking) if lacking else None


def no_live_job(situation: Situation) -> Problem | None:
    """Two stages at the same time would write to one workspace."""
    live = next((job for job in situation.observation.jobs if job.live), None)
    if live and situation.observation.lost_pod:
        return situation.observation.lost_pod.problem
    return Problem(None, f"waiting for the Job {live.name} to stop") if live else None


def no_orphaned_pod(situation: Situation) -> Problem | None:
    """A Pod may still write to the workspace although its Job was deleted."""
    orphaned = situation.observation.orphaned_pods
    if orphaned and situation.observation.lost_pod:
        return situation.observation.lost_pod.problem
    return Problem(None, f"waiting for the Pod {orphaned[0]} to stop") if orphaned else None


def student_is_served(situation: Situation) -> Problem | None:
    """Verify needs the server of the newest student."""
    return situation.unserved


PRECONDITIONS: tuple[Precondition, ...] = (
    not_suspended,  # First, so that nothing else is reported while the user wants no work.
    not_refused,
    workspace_is_the_same,
    given_claim_exists,
    nodes_can_mount_the_claim,
    claim_not_terminating,
    claim_name_is_free,
    server_names_are_free,
    shared_server_suits,
    method_can_be_used,
    no_live_job,  # After what only a person can repair: that should be reported without waiting for a Job to stop.
    no_orphaned_pod,
    student_is_served,
)
