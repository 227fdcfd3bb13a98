"""Which student is to be served, and how far that is.

A server is never taken away for a run that is not finished: until then it serves the student it has, with the
replicas and resources that the spec asks for today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from distillery_api.result import Reason, Stage
from distillery_operator import names
from distillery_operator.ledger import BLOCKING_REASONS, Ledger, Scene, conflict
from distillery_operator.manifests.common import Manifest, VolumeUse
from distillery_operator.manifests.serving import ServedModel, serving_deployment, serving_service
from distillery_operator.observe import SeenDeployment, SeenService, Standing
from distillery_operator.pods import Trouble


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
    trouble: Trouble | None = None
    stalled: bool = False
    """Whether only a person can help."""
    blocked_since: datetime | None = None


_CRASHES = frozenset({Reason.CONTAINER_OOM_KILLED, Reason.ROLLOUT_FAILED})


def roll_out(scene: Scene, ledger: Ledger) -> Rollout:
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


def pending_writes(scene: Scene, rollout: Rollout) -> tuple[tuple[Manifest, bool], ...]:
    """The manifests to write, each with whether it is to be created rather than changed."""
    if rollout.trouble and rollout.trouble.reason is Reason.NAME_CONFLICT:
        return ()
    seen = {"Deployment": scene.observation.deployment, "Service": scene.observation.service}
    writes = ((manifest, seen[manifest["kind"]]) for manifest in rollout.wanted)
    return tuple((manifest, there is None) for manifest, there in writes if _needs_write(manifest, there))


def includes(seen: Any, wanted: Any) -> bool:
    """Whether an object of the API server has all that a manifest says; the server adds defaults, and writes quantities
    in its own way."""
    if seen is None and not wanted:
        return True  # The server leaves out what is empty or false.
    if isinstance(wanted, Mapping):
        return isinstance(seen, Mapping) and all(includes(seen.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        alike = isinstance(seen, Sequence) and not isinstance(seen, str) and len(seen) == len(wanted)
        return alike and all(map(includes, seen, wanted))
    return bool(seen == wanted) or _same_quantity(seen, wanted)


def _newest_model(scene: Scene) -> ServedModel:
    return ServedModel.planned(scene.plan, scene.plan.stage(Stage.TRAIN).input_hash)


def _present_model(seen: SeenDeployment | None) -> ServedModel | None:
    if seen is None or seen.standing is not Standing.OURS:
        return None
    return ServedModel(seen.train_hash, seen.model_path, seen.student_prompt)


def _wanted(scene: Scene, model: ServedModel) -> tuple[Manifest, ...]:
    plan = scene.plan
    volume = volume_use(scene)
    return (serving_deployment(plan, scene.settings.manifests, model, volume), serving_service(plan))


def volume_use(scene: Scene) -> VolumeUse:
    """What a new Pod has to know about the workspace."""
    claim = scene.observation.claim
    shared = claim.shared if claim else scene.plan.shared_volume
    return VolumeUse(shared, beside_server=scene.observation.server_on_node)


def _taken(scene: Scene) -> Trouble | None:
    name = names.serving_name(scene.plan.name)
    seen = {"Deployment": scene.observation.deployment, "Service": scene.observation.service}
    kinds = (kind for kind, child in seen.items() if child and child.standing is Standing.FOREIGN)
    return next((conflict(kind, name) for kind in kinds), None)


def _progress(scene: Scene, model: ServedModel, wanted: tuple[Manifest, ...]) -> Rollout:
    seen = scene.observation.deployment
    newest = model == _newest_model(scene)
    if seen is None or seen.standing is not Standing.OURS or seen.digest != _digest(wanted):
        return Rollout(RolloutPhase.ROLLING_OUT, newest, wanted, model)
    if seen.rolled_out and seen.wanted == scene.plan.spec.serving.replicas and _can_be_reached(scene):
        return Rollout(RolloutPhase.SERVING, newest, wanted, model)
    since = _blocked_since(scene, seen)
    late = since is not None and scene.now - since >= scene.settings.retry.blocked_deadline
    trouble = _deadline_trouble(seen) or seen.trouble
    stalled = late or (seen.deadline_exceeded and seen.current)
    return Rollout(RolloutPhase.ROLLING_OUT, newest, wanted, model, trouble, stalled, since)


def _can_be_reached(scene: Scene) -> bool:
    """Whether the Service is there: an operator may have died before it made one."""
    service = scene.observation.service
    return service is not None and service.standing is Standing.OURS


def _digest(wanted: tuple[Manifest, ...]) -> str:
    deployment = next(manifest for manifest in wanted if manifest["kind"] == "Deployment")
    return str(deployment["metadata"]["annotations"][names.DIGEST_ANNOTATION])


def _deadline_trouble(seen: SeenDeployment) -> Trouble | None:
    if not (seen.deadline_exceeded and seen.current):
        return None
    why = f": {seen.trouble.message}" if seen.trouble else ""
    return Trouble(Reason.ROLLOUT_FAILED, f"the server does not answer within its time{why}")


def _blocked_since(scene: Scene, seen: SeenDeployment) -> datetime | None:
    if seen.trouble is None or seen.trouble.reason not in BLOCKING_REASONS | _CRASHES:
        return None
    before = scene.previous.serving
    return (before.blocked_since if before else None) or scene.now


def _needs_write(manifest: Manifest, there: SeenDeployment | SeenService | None) -> bool:
    if there is None:
        return True
    return there.standing is Standing.OURS and not includes(there.manifest, manifest)


def _same_quantity(seen: Any, wanted: Any) -> bool:
    first, second = _amount(seen), _amount(wanted)
    return first is not None and first == second


_UNITS = {"m": Decimal("0.001"), "": Decimal(1)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}


def _amount(value: Any) -> Decimal | None:
    text = str(value)
    number = text.rstrip("mkKMGTPEi")
    try:
        return Decimal(number) * _UNITS[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return None
