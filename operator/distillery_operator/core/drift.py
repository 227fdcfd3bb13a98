"""Drift: an object in the cluster differs from its manifest. It is repaired by writing the manifest again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distillery_api.reasons import Reason
from distillery_operator.core.observation import ObservedConfigMap, Ownership, ServerChild
from distillery_operator.core.serving_rollout import Rollout
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.quantities import amount
from distillery_operator.planning import names

PendingWrites = tuple[tuple[Manifest, bool], ...]
"""The manifests to write, each with whether it is to be created rather than changed."""


def pending_writes(situation: Situation, rollout: Rollout) -> PendingWrites:
    """What differs from the manifests of the server and of what belongs to it."""
    if rollout.problem and rollout.problem.reason is Reason.NAME_CONFLICT:
        return ()
    observation = situation.observation
    children = (*observation.server_children, *observation.config_maps)
    seen = {identity_of(child.manifest): child for child in children}
    writes = ((manifest, seen.get(identity_of(manifest))) for manifest in rollout.manifests)
    return tuple((manifest, child is None) for manifest, child in writes if has_drifted(manifest, child))


def identity_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name."""
    return manifest["kind"], manifest["metadata"]["name"]


def has_drifted(manifest: Manifest, child: ServerChild | ObservedConfigMap | None) -> bool:
    """Whether an object of ours does not exist, or differs from its manifest."""
    if child is None:
        return True
    same = includes(child.manifest, manifest) and _user_keys(child.manifest) == _user_keys(manifest)
    return child.ownership is Ownership.OURS and not same


def _user_keys(manifest: Mapping[str, Any]) -> Any:
    """The note of the user's labels and annotations: one that the user no longer wants is a difference, too."""
    return (manifest["metadata"].get("annotations") or {}).get(names.CHILD_METADATA_ANNOTATION)


def added_selectors(situation: Situation, rollout: Rollout) -> Iterator[tuple[str, Manifest]]:
    """The patches, by the name of our Service, that remove labels which its selector has too many: applying the
    manifest again would leave those that somebody else has added."""
    services = (situation.observation.service, situation.observation.candidate_service)
    seen = {identity_of(each.manifest): each for each in services if each and each.ownership is Ownership.OURS}
    for wanted in rollout.manifests:
        service = seen.get(identity_of(wanted))
        if service is None:
            continue
        added = sorted((service.manifest["spec"].get("selector") or {}).keys() - wanted["spec"]["selector"].keys())
        if added:
            yield wanted["metadata"]["name"], {"spec": {"selector": dict.fromkeys(added)}}


def includes(seen: Any, expected: Any) -> bool:
    """Whether a value of the API server has all that the expected one says; the server adds defaults, and may write
    quantities in another way."""
    if seen is None and not expected:
        return True  # The server omits what is empty or false.
    if isinstance(expected, Mapping):
        return isinstance(seen, Mapping) and all(includes(seen.get(key), value) for key, value in expected.items())
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        comparable = isinstance(seen, Sequence) and not isinstance(seen, str) and len(seen) == len(expected)
        return comparable and all(map(includes, seen, expected))
    return bool(seen == expected) or _same_quantity(seen, expected)


def _same_quantity(seen: Any, expected: Any) -> bool:
    first, second = amount(seen), amount(expected)
    return first is not None and first == second
