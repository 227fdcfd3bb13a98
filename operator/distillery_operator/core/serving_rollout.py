"""Which student is to be served, and how far that is.

A server is never taken away for a run that is not finished: until then it serves the student it has, with the
replicas and resources that the spec asks for today.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_operator.core.drift import has_drifted
from distillery_operator.core.observation import Ownership, SeenDeployment
from distillery_operator.core.preconditions import name_conflict
from distillery_operator.core.problem import Problem
from distillery_operator.core.situation import Situation
from distillery_operator.core.stages import BLOCKING_REASONS, StageStates
from distillery_operator.manifests.common import Manifest, VolumeUse
from distillery_operator.manifests.serving import ServedModel, serving_deployment, serving_service
from distillery_operator.planning import names


class RolloutPhase(StrEnum):
    """Where the server is."""

    OFF = "Off"
    """Serving is not wanted."""
    NOTHING = "Nothing"
    """There is no student to serve yet."""
    ROLLING_OUT = "RollingOut"
    SERVING = "Serving"


@dataclass(frozen=True)
class Rollout:
    """The server as it is and as it should be."""

    phase: RolloutPhase
    newest: bool = False
    """Whether it is about the student of the current inputs, not an earlier one."""
    wanted: tuple[Manifest, ...] = ()
    """Deployment and Service that should be there."""
    model: ServedModel | None = None
    problem: Problem | None = None
    stalled: bool = False
    """Whether only a person can help."""
    blocked_since: datetime | None = None


_CRASHES = frozenset({Reason.CONTAINER_OOM_KILLED, Reason.ROLLOUT_FAILED})


def roll_out(scene: Situation, ledger: StageStates) -> Rollout:
    """What is served, or to be served, at this moment."""
    if not scene.plan.served:
        return Rollout(RolloutPhase.OFF)
    newest = ledger.finished and not scene.plan.suspended
    model = _newest_model(scene) if newest else _present_model(scene.observation.deployment)
    if model is None:
        return Rollout(RolloutPhase.NOTHING)
    wanted = _wanted(scene, model)
    taken = _taken(scene)
    if taken:
        return Rollout(RolloutPhase.ROLLING_OUT, ledger.finished, wanted, model, taken, stalled=True)
    return _progress(scene, model, wanted)


def pending_writes(scene: Situation, rollout: Rollout) -> tuple[tuple[Manifest, bool], ...]:
    """The manifests to write, each with whether it is to be created rather than changed."""
    if rollout.problem and rollout.problem.reason is Reason.NAME_CONFLICT:
        return ()
    seen = {"Deployment": scene.observation.deployment, "Service": scene.observation.service}
    writes = ((manifest, seen[manifest["kind"]]) for manifest in rollout.wanted)
    return tuple((manifest, there is None) for manifest, there in writes if has_drifted(manifest, there))


def _newest_model(scene: Situation) -> ServedModel:
    return ServedModel.planned(scene.plan, scene.plan.stage(Stage.TRAIN).input_hash)


def _present_model(seen: SeenDeployment | None) -> ServedModel | None:
    if seen is None or seen.ownership is not Ownership.OURS:
        return None
    return ServedModel(seen.train_hash, seen.model_path, seen.student_prompt)


def _wanted(scene: Situation, model: ServedModel) -> tuple[Manifest, ...]:
    plan = scene.plan
    volume = volume_use(scene)
    return (serving_deployment(plan, scene.settings.manifests, model, volume), serving_service(plan))


def volume_use(scene: Situation) -> VolumeUse:
    """What a new Pod has to know about the workspace."""
    claim = scene.observation.claim
    shared = claim.shared if claim else scene.plan.shared_volume
    return VolumeUse(shared, beside_server=scene.observation.server_on_node)


def _taken(scene: Situation) -> Problem | None:
    name = names.serving_name(scene.plan.name)
    seen = {"Deployment": scene.observation.deployment, "Service": scene.observation.service}
    kinds = (kind for kind, child in seen.items() if child and child.ownership is Ownership.FOREIGN)
    return next((name_conflict(kind, name) for kind in kinds), None)


def _progress(scene: Situation, model: ServedModel, wanted: tuple[Manifest, ...]) -> Rollout:
    seen = scene.observation.deployment
    newest = model == _newest_model(scene)
    if seen is None or seen.ownership is not Ownership.OURS or seen.digest != _digest(wanted):
        return Rollout(RolloutPhase.ROLLING_OUT, newest, wanted, model)
    if seen.rolled_out and seen.wanted == scene.plan.spec.serving.replicas and _can_be_reached(scene):
        return Rollout(RolloutPhase.SERVING, newest, wanted, model)
    since = _blocked_since(scene, seen)
    late = since is not None and scene.now - since >= scene.settings.retry.blocked_deadline
    problem = _deadline_problem(seen) or seen.problem
    stalled = late or (seen.deadline_exceeded and seen.current)
    return Rollout(RolloutPhase.ROLLING_OUT, newest, wanted, model, problem, stalled, since)


def _can_be_reached(scene: Situation) -> bool:
    """Whether the Service is there: an operator may have died before it made one."""
    service = scene.observation.service
    return service is not None and service.ownership is Ownership.OURS


def _digest(wanted: tuple[Manifest, ...]) -> str:
    deployment = next(manifest for manifest in wanted if manifest["kind"] == "Deployment")
    return str(deployment["metadata"]["annotations"][names.DIGEST_ANNOTATION])


def _deadline_problem(seen: SeenDeployment) -> Problem | None:
    if not (seen.deadline_exceeded and seen.current):
        return None
    why = f": {seen.problem.message}" if seen.problem else ""
    return Problem(Reason.ROLLOUT_FAILED, f"the server does not answer within its time{why}")


def _blocked_since(scene: Situation, seen: SeenDeployment) -> datetime | None:
    if seen.problem is None or seen.problem.reason not in BLOCKING_REASONS | _CRASHES:
        return None
    before = scene.previous.serving
    return (before.blocked_since if before else None) or scene.now
