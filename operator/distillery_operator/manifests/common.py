"""What all children have in common: labels, owner, and the choices that the operator's installation makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distillery_api.resource import API_VERSION, KIND
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

Manifest = dict[str, Any]


@dataclass(frozen=True)
class ManifestSettings:
    """What an installation decides for all Distillations."""

    trainer_image: str
    """Image of the stages, and of serving with the runtime Transformers."""
    vllm_image: str
    """Image of serving with the runtime VLLM."""
    image_pull_policy: str = "IfNotPresent"
    run_as_user: int | None = 10001
    """User of all containers; None leaves it to the cluster, as OpenShift wants."""
    fs_group: int | None = 10001
    """Group that owns the workspace; None leaves it to the cluster."""
    progress_deadline_seconds: int = 3600
    """Seconds that a new student may take until it answers: loading a large model takes many minutes."""
    stage_grace_seconds: int = 120
    """Seconds that a stage gets to write a checkpoint when it is stopped."""


@dataclass(frozen=True)
class VolumeUse:
    """What is known about the workspace volume when a Pod is made."""

    shared: bool
    """Whether many nodes can mount it."""
    beside_server: bool = False
    """Whether a serving Pod holds it on its node."""


def child_labels(plan: Plan, component: str, **more: str) -> dict[str, str]:
    """The labels of a child; `more` holds `input_hash` and `attempt` where there are such."""
    extra = {"input_hash": names.HASH_LABEL, "attempt": names.ATTEMPT_LABEL}
    return {
        names.APPLICATION_LABEL: names.MANAGER,
        names.INSTANCE_LABEL: plan.name,
        names.COMPONENT_LABEL: str(component),
        names.MANAGED_BY_LABEL: names.MANAGER,
        names.NAME_LABEL: plan.name,
        **{extra[key]: value for key, value in more.items()},
    }


def owned_metadata(plan: Plan, name: str, labels: dict[str, str]) -> Manifest:
    """Metadata of a child that goes when its Distillation goes."""
    return {"name": name, "namespace": plan.namespace, "labels": labels, **owner_reference(plan)}


def owner_reference(plan: Plan) -> Manifest:
    """`ownerReferences`; nothing where the plan was made without a cluster."""
    if not plan.uid:
        return {}
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": plan.name, "uid": plan.uid}
    return {"ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}
