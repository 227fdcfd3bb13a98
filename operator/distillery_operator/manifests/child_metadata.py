"""Labels and owner references of all children."""

from __future__ import annotations

from typing import Any

from distillery_api.resource import API_VERSION, KIND
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

Manifest = dict[str, Any]


def child_labels(plan: Plan, component: str, **more: str) -> dict[str, str]:
    """The labels of a child; `more` holds its `input_hash` and `attempt`, if it has them."""
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
    """Metadata of a child that is deleted with its Distillation."""
    return {"name": name, "namespace": plan.namespace, "labels": labels, **owner_reference(plan)}


def owner_reference(plan: Plan) -> Manifest:
    """`ownerReferences`; empty if the plan was made without a cluster."""
    if not plan.uid:
        return {}
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": plan.name, "uid": plan.uid}
    return {"ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}
