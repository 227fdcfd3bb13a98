"""What must be over before a Job may be created."""

from __future__ import annotations

from distillery_api.reasons import Reason
from distillery_api.status import StageStatus
from distillery_operator.core.observation import JobState, Observation, Ownership
from distillery_operator.core.problem import Problem
from distillery_operator.core.situation import Situation


def name_conflict(kind: str, name: str) -> Problem:
    """A name of ours that something else has."""
    return Problem(
        Reason.NAME_CONFLICT,
        f"the {kind} {name} exists already and belongs to something else; delete it, or choose another metadata.name",
    )


STALLING_REASONS = frozenset({Reason.NAME_CONFLICT, Reason.INVALID_SPEC, Reason.WORKSPACE_LOST})


def unmet_precondition(scene: Situation, record: StageStatus) -> Problem | None:
    """What must be over before a Job may be created."""
    if scene.plan.suspended:
        return Problem(Reason.SUSPENDED, "spec.suspend is true")
    return scene.refused or _claim_problem(scene) or _company(scene.observation, record)


def _claim_problem(scene: Situation) -> Problem | None:
    claim, name, given = scene.observation.claim, scene.plan.claim_name, scene.plan.spec.storage.claim_name
    if claim is None:
        return _absent_claim(scene, name, given=given is not None)
    if claim.ownership is Ownership.TERMINATING:
        return Problem(Reason.VOLUME_UNAVAILABLE, f"waiting for the claim {name} to be deleted")
    if claim.lost:
        return Problem(Reason.WORKSPACE_LOST, f"the volume of the claim {name} has disappeared")
    if claim.ownership is Ownership.FOREIGN and given is None:
        return name_conflict("PersistentVolumeClaim", name)
    return None


def _absent_claim(scene: Situation, name: str, *, given: bool) -> Problem | None:
    if given:
        return Problem(Reason.CONFIGURATION_MISSING, f"storage.claimName: there is no PersistentVolumeClaim {name}")
    recorded = any(record.completion_time for record in scene.previous.stages)
    if not recorded and not any(job.state is JobState.DONE for job in scene.observation.jobs):
        return None
    return Problem(
        Reason.WORKSPACE_LOST,
        f"the claim {name} is gone, and with it the rows and models of the stages that were done; restore it, or delete"
        " this Distillation and apply it again, which runs and pays for every stage anew",
    )


def _company(observation: Observation, record: StageStatus) -> Problem | None:
    """Two stages at once would write into one workspace."""
    live = next((job for job in observation.jobs if job.live), None)
    if live:
        return Problem(None, f"waiting for the Job {live.name} to stop")
    if observation.orphaned_pods:
        return Problem(None, f"waiting for the Pod {observation.orphaned_pods[0]} to stop")
    return None
