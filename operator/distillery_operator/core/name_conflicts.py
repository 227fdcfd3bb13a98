"""Names of ours that belong to something else. What is not ours is never changed, so only a person can help."""

from __future__ import annotations

from collections.abc import Mapping

from distillery_api.spec import AdapterMode
from distillery_operator.core.observation import Ownership, ServerChild
from distillery_operator.core.problem import Problem, name_conflict
from distillery_operator.core.situation import Situation
from distillery_operator.planning import names
from distillery_operator.planning.plan import PlannedStage


def server_name_conflict(situation: Situation) -> Problem | None:
    """A Deployment or a Service that has the server's name, where the student is to be served."""
    if not situation.plan.served:
        return None
    seen: dict[str, ServerChild | None] = {"Service": situation.observation.service}
    if situation.plan.host is None:
        seen = {"Deployment": situation.observation.deployment, **seen}
    return _conflict(seen, names.serving_name(situation.plan.name)) or _adapters_conflict(situation)


def candidate_name_conflict(situation: Situation) -> Problem | None:
    """A Deployment or a Service that has the candidate's name, where new servers take over by a canary."""
    if not situation.plan.has_candidates:
        return None
    seen = {"Deployment": situation.observation.candidate, "Service": situation.observation.candidate_service}
    return _conflict(seen, names.candidate_name(situation.plan.name))


def _conflict(seen: Mapping[str, ServerChild | None], name: str) -> Problem | None:
    kinds = (kind for kind, child in seen.items() if child and child.ownership is Ownership.FOREIGN)
    return next((name_conflict(kind, name) for kind in kinds), None)


def _adapters_conflict(situation: Situation) -> Problem | None:
    """A ConfigMap that has the name of the one with the server's adapters."""
    if situation.plan.spec.serving.adapter is AdapterMode.MERGED:
        return None
    name = names.adapters_name(situation.plan.name)
    seen = situation.observation.config_map_named(name)
    return name_conflict("ConfigMap", name) if seen and seen.ownership is Ownership.FOREIGN else None


def config_map_conflict(situation: Situation, planned: PlannedStage) -> Problem | None:
    """A ConfigMap that has the name of the stage's."""
    name = names.config_map_name(situation.plan.name, planned.folder)
    seen = situation.observation.config_map_named(name)
    return name_conflict("ConfigMap", name) if seen and seen.ownership is Ownership.FOREIGN else None
