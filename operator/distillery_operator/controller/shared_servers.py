"""Who shares a server with whom, from the object cache: what happens to one of them concerns the others, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillery_api.resource import KIND
from distillery_api.status import ConditionType
from distillery_operator.cluster.object_cache import Name, ObjectCache
from distillery_operator.cluster.parse_resource import read_status
from distillery_operator.core.observation import GuestObjects, HostObjects
from distillery_operator.core.situation import find_condition
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

Manifest = dict[str, Any]


def affected(cache: ObjectCache, key: Name) -> frozenset[Name]:
    """The Distillations that something about one of them concerns: itself, its host and its guests."""
    namespace, name = key
    host = cache.host(namespace, name)
    return frozenset((namespace, each) for each in (name, *cache.guests(namespace, name), host) if each)


class SharedServers:
    """What is known of hosts and guests. `plan_of` makes the plan of a stored Distillation; None where its spec is
    invalid."""

    def __init__(self, cache: ObjectCache, plan_of: Callable[[Manifest], Plan | None]) -> None:
        self._cache, self._plan_of = cache, plan_of

    def host(self, plan: Plan) -> HostObjects | None:
        """The host of a guest and the objects of its server."""
        if plan.host is None:
            return None
        found = self._living(plan.namespace, plan.host)
        if found is None:
            return HostObjects()
        host = self._plan_of(found)
        return HostObjects(
            host,
            uid=found["metadata"]["uid"],
            invalid=host is None,
            stalled=_stalled(found),
            deployment=self._cache.get("Deployment", plan.namespace, names.serving_name(plan.host)),
            config_map=self._cache.get("ConfigMap", plan.namespace, names.adapters_name(plan.host)),
            pods=self._cache.children("Pod", plan.namespace, plan.host),
        )

    def guests(self, plan: Plan) -> tuple[GuestObjects, ...]:
        """The guests of a host or, of a guest, the others of its host."""
        host = plan.host or plan.name
        others = (name for name in self._cache.guests(plan.namespace, host) if name != plan.name)
        found = (self._living(plan.namespace, name) for name in others)
        plans = (self._plan_of(each) for each in found if each)
        return tuple(self._guest(each) for each in plans if each and each.host == host)

    def _guest(self, plan: Plan) -> GuestObjects:
        return GuestObjects(plan, self._cache.get("ConfigMap", plan.namespace, names.adapters_name(plan.name)))

    def _living(self, namespace: str, name: str) -> Manifest | None:
        """A Distillation that is not being deleted."""
        found = self._cache.get(KIND, namespace, name)
        return None if found is None or found["metadata"].get("deletionTimestamp") else found


def _stalled(found: Manifest) -> str | None:
    """The reason for which a Distillation is stalled; None where it is not."""
    condition = find_condition(read_status(found), ConditionType.STALLED)
    return condition.reason if condition else None
