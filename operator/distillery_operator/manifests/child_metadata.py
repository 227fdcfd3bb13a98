"""Labels, annotations and owner references of all children."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from distillery_api.resource import API_VERSION, KIND
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

Manifest = dict[str, Any]


def child_labels(plan: Plan, component: str, **more: str) -> dict[str, str]:
    """The labels of a child, the user's among them; `more` holds its `input_hash` and `attempt`, if it has them."""
    extra = {"input_hash": names.HASH_LABEL, "attempt": names.ATTEMPT_LABEL}
    return {
        **user_labels(plan),
        names.APPLICATION_LABEL: names.MANAGER,
        names.INSTANCE_LABEL: plan.name,
        names.COMPONENT_LABEL: str(component),
        names.MANAGED_BY_LABEL: names.MANAGER,
        names.NAME_LABEL: plan.name,
        **{extra[key]: value for key, value in more.items()},
    }


def user_labels(plan: Plan) -> dict[str, str]:
    """The labels that the user wants on every child."""
    metadata = plan.spec.child_metadata
    return dict((metadata and metadata.labels) or {})


def child_annotations(plan: Plan) -> dict[str, str]:
    """The annotations that the user wants on every child, with a note of the user's keys: by it, one that is no longer
    wanted is noticed."""
    metadata = plan.spec.child_metadata
    if metadata is None:
        return {}
    keys = {"labels": sorted(metadata.labels or {}), "annotations": sorted(metadata.annotations or {})}
    return {**(metadata.annotations or {}), names.CHILD_METADATA_ANNOTATION: json.dumps(keys, separators=(",", ":"))}


def owned_metadata(
    plan: Plan, name: str, labels: dict[str, str], annotations: Mapping[str, str] | None = None
) -> Manifest:
    """Metadata of a child that is deleted with its Distillation."""
    all_annotations = {**child_annotations(plan), **(annotations or {})}
    annotated = {"annotations": all_annotations} if all_annotations else {}
    return {"name": name, "namespace": plan.namespace, "labels": labels, **owner_reference(plan), **annotated}


def owner_reference(plan: Plan) -> Manifest:
    """`ownerReferences`; empty if the plan was made without a cluster."""
    if not plan.uid:
        return {}
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": plan.name, "uid": plan.uid}
    return {"ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}
