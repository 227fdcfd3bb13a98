"""Labels and annotations of `spec.childMetadata` on the workspace claim, which outlives every change of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from distillery_api.base import LenientModel
from distillery_operator.core.observation import ObservedClaim
from distillery_operator.manifests.child_metadata import Manifest, child_annotations, user_labels
from distillery_operator.planning.names import CHILD_METADATA_ANNOTATION
from distillery_operator.planning.plan import Plan

Fields = Mapping[str, Any]


class _Keys(LenientModel):
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()


def metadata_patch(plan: Plan, claim: ObservedClaim) -> Manifest | None:
    """The JSON merge patch that gives our claim the labels and annotations of the spec, and takes away those that the
    spec no longer names; None where they are as they should be."""
    seen = claim.manifest["metadata"]
    wanted = {"labels": user_labels(plan), "annotations": child_annotations(plan)}
    formerly = _keys(seen)
    patch = {kind: _patch(seen.get(kind) or {}, wanted[kind], formerly.get(kind, ())) for kind in wanted}
    changes = {kind: each for kind, each in patch.items() if each}
    return {"metadata": changes} if changes else None


def _patch(seen: Fields, wanted: Fields, formerly: tuple[str, ...]) -> dict[str, Any]:
    removed = dict.fromkeys(key for key in formerly if key in seen and key not in wanted)
    return {**removed, **{key: value for key, value in wanted.items() if seen.get(key) != value}}


def _keys(seen: Fields) -> dict[str, tuple[str, ...]]:
    """The keys that the spec named when the claim was last written, the note of them included. Of a note that somebody
    has changed, nothing is known."""
    try:
        keys = _Keys.model_validate_json((seen.get("annotations") or {}).get(CHILD_METADATA_ANNOTATION) or "{}")
    except ValidationError:
        keys = _Keys()
    return {"labels": keys.labels, "annotations": (*keys.annotations, CHILD_METADATA_ANNOTATION)}
