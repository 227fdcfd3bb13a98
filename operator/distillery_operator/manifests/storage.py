"""The claim of the workspace, which holds every paid reply, the rows and the models."""

from __future__ import annotations

from distillery_api.spec import DEFAULT_STORAGE_SIZE, AccessMode, Retention
from distillery_operator.manifests.child_metadata import Manifest, child_annotations, child_labels, owner_reference
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan


def workspace_claim(plan: Plan) -> Manifest:
    """The PersistentVolumeClaim of the workspace.

    It has no owner unless `storage.retention` is Delete: deleting a manifest must not delete paid rows and a model.
    """
    storage = plan.spec.storage
    owner = owner_reference(plan) if storage.retention is Retention.DELETE else {}
    labels = child_labels(plan, names.WORKSPACE_COMPONENT) | ({names.UID_LABEL: plan.uid} if plan.uid else {})
    # Argo CD takes what has this label for a part of an application, and prunes what is not in Git. The claim has no
    # owner that would tell otherwise.
    del labels[names.INSTANCE_LABEL]
    annotations = child_annotations(plan)
    annotated = {"annotations": annotations} if annotations else {}
    spec: Manifest = {
        "accessModes": [str(mode) for mode in storage.access_modes or (AccessMode.READ_WRITE_ONCE,)],
        "resources": {"requests": {"storage": storage.size or DEFAULT_STORAGE_SIZE}},
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": plan.claim_name, "namespace": plan.namespace, "labels": labels, **owner, **annotated},
        "spec": spec | ({"storageClassName": storage.storage_class_name} if storage.storage_class_name else {}),
    }
