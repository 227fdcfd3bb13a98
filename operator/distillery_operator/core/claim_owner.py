"""Whom the workspace claim belongs to: with `storage.retention: Delete` the Distillation, so that it is deleted too."""

from __future__ import annotations

from distillery_api.spec import Retention
from distillery_operator.core.observation import ObservedClaim
from distillery_operator.manifests.child_metadata import Manifest, owner_reference
from distillery_operator.planning.plan import Plan


def owner_patch(plan: Plan, claim: ObservedClaim) -> Manifest | None:
    """The JSON merge patch that gives our claim its owner, or takes it away; None where that is as it should be.

    It holds the owner references and nothing else, so that no other difference between the claim and the spec, such as
    a size that the storage class refuses, keeps the owner from changing. Owners that others have set stay.
    """
    owners = list(claim.manifest["metadata"].get("ownerReferences") or ())
    others = [owner for owner in owners if owner.get("uid") != plan.uid]
    ours = owner_reference(plan).get("ownerReferences", []) if plan.spec.storage.retention is Retention.DELETE else []
    if bool(ours) == (len(others) < len(owners)):
        return None
    return {"metadata": {"ownerReferences": [*others, *ours]}}
