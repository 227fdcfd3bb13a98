"""The ConfigMap that names the adapters which a server has to load: a new student changes it, and no Pod."""

from __future__ import annotations

from distillery_operator.core.observation import Ownership
from distillery_operator.core.observe_shared_server import adapters_in
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.serving import all_student_names
from distillery_operator.planning import names


def names_adapters(situation: Situation, manifests: tuple[Manifest, ...]) -> bool:
    """Whether the student's adapter is where its Pods read of it, if one is needed."""
    wanted = next((each for each in manifests if each["kind"] == "ConfigMap"), None)
    if wanted is None:
        return True
    seen, host = situation.observation.config_map_named(wanted["metadata"]["name"]), situation.observation.host
    there = adapters_in(seen.manifest if seen else None)
    if host:
        return there == adapters_in(wanted) and there.items() <= host.adapters.items()
    # Those of guests come and go.
    return {name: there.get(name) for name in all_student_names(situation.plan)}.items() <= adapters_in(wanted).items()


def is_obsolete(situation: Situation, manifests: tuple[Manifest, ...], *, settled: bool) -> bool:
    """Whether the ConfigMap of ours is left over: no server needs it any more."""
    seen = situation.observation.config_map_named(names.adapters_name(situation.plan.name))
    needed = any(each["kind"] == "ConfigMap" for each in manifests)
    return settled and not needed and seen is not None and seen.ownership is Ownership.OURS
