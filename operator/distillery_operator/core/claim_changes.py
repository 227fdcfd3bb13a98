"""What is changed in a workspace claim of ours that exists: its owner, its labels and annotations, and its size, which
only ever grows.

Each change is a patch of its own, so that one that is refused, such as a size that the storage class cannot give, keeps
no other from being made.
"""

from __future__ import annotations

from collections.abc import Iterator

from distillery_operator.core.claim_metadata import metadata_patch
from distillery_operator.core.claim_owner import owner_patch
from distillery_operator.core.observation import ObservedClaim
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.quantities import amount
from distillery_operator.manifests.storage import workspace_claim
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan


def claim_patches(plan: Plan, claim: ObservedClaim) -> Iterator[Manifest]:
    """The JSON merge patches that bring the claim to the spec."""
    patches = (
        owner_patch(plan, claim),
        _label_patch(plan, claim),
        metadata_patch(plan, claim),
        _size_patch(plan, claim),
    )
    yield from (patch for patch in patches if patch)


def _label_patch(plan: Plan, claim: ObservedClaim) -> Manifest | None:
    """Earlier releases wrote a label by which Argo CD may take the claim for its own and prune it."""
    if (claim.manifest["metadata"].get("labels") or {}).get(names.INSTANCE_LABEL) != plan.name:
        return None
    return {"metadata": {"labels": {names.INSTANCE_LABEL: None}}}


def _size_patch(plan: Plan, claim: ObservedClaim) -> Manifest | None:
    """A claim that has no volume yet cannot be changed."""
    wanted = workspace_claim(plan)["spec"]["resources"]["requests"]["storage"]
    present, size = amount(claim.requested), amount(wanted)
    if not claim.bound or present is None or size is None or size <= present:
        return None
    return {"spec": {"resources": {"requests": {"storage": wanted}}}}
