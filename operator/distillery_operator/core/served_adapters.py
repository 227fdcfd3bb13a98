"""The ConfigMap that names the adapters which a server has to load: a new student changes it, and no Pod."""

from __future__ import annotations

from distillery_operator.core.observation import Ownership
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.planning import names


def names_adapters(situation: Situation, manifests: tuple[Manifest, ...]) -> bool:
    """Whether the ConfigMap is as it should be, if one is needed."""
    wanted = next((each for each in manifests if each["kind"] == "ConfigMap"), None)
    seen = situation.observation.config_map_named(names.adapters_name(situation.plan.name))
    return wanted is None or (seen is not None and seen.manifest.get("data") == wanted["data"])


def is_obsolete(situation: Situation, manifests: tuple[Manifest, ...], *, settled: bool) -> bool:
    """Whether the ConfigMap of ours is left over: no server needs it any more."""
    seen = situation.observation.config_map_named(names.adapters_name(situation.plan.name))
    needed = any(each["kind"] == "ConfigMap" for each in manifests)
    return settled and not needed and seen is not None and seen.ownership is Ownership.OURS
