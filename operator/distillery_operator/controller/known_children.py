"""The children of a Distillation, from the object cache. Only what no watch reports is asked of the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from time import monotonic
from typing import Any

from distillery_api.status import DistillationStatus
from distillery_operator.cluster.client import Cluster
from distillery_operator.cluster.kueue import read_workloads
from distillery_operator.controller.namespace_events import NamespaceEvents
from distillery_operator.controller.shared_servers import SharedServers
from distillery_operator.core.attempt_state import lacks_the_end_of_its_pod
from distillery_operator.core.observation import Children, Observation
from distillery_operator.core.observe import observe
from distillery_operator.core.observe_queue import waiting_jobs
from distillery_operator.core.situation import names_to_read
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

Manifest = dict[str, Any]

GIVEN_CLAIM_SECONDS = 600.0
"""How long a claim that storage.claimName names is taken to be as it was read: no watch reports it."""

_FIELDS = {
    "PersistentVolumeClaim": "claim",
    "Deployment": "deployment",
    "Service": "service",
    "PodDisruptionBudget": "disruption_budget",
    "HTTPRoute": "http_route",
    "Ingress": "ingress",
}
"""Where `Children` holds the one object of a kind."""

_FIELDS_OF_CANDIDATE = {"Deployment": "candidate", "Service": "candidate_service"}


_SEVERAL = {"Job": "jobs", "ConfigMap": "config_maps"}
"""Where `Children` holds all objects of a kind."""


class KnownChildren:
    """Collects the children of one Distillation at a time. `plan_of` makes the plan of a stored Distillation; None
    where its spec is invalid."""

    def __init__(self, cluster: Cluster, plan_of: Callable[[Manifest], Plan | None]) -> None:
        self._cluster, self._cache = cluster, cluster.cache
        self._shared_servers = SharedServers(cluster.cache, plan_of)
        self._events = NamespaceEvents(cluster.failure_events)
        self._given_claims: dict[tuple[str, str], tuple[float, Manifest]] = {}
        """When each was read, the longest ago first."""

    async def collect(self, plan: Plan, previous: DistillationStatus) -> Children:
        """Everything that belongs to the Distillation."""
        children = replace(self._known(plan), claim=await self._claim(plan))
        for child in await self._named(plan.namespace, names_to_read(plan, previous)):
            children = with_child(children, child, plan.name)
        children = await self._with_late_pods(plan, previous, children)
        waiting = waiting_jobs(children.jobs, suspended=plan.suspended)
        return replace(children, workloads=await read_workloads(self._cluster, plan.namespace, waiting))

    async def observe(self, plan: Plan, children: Children, now: datetime) -> Observation:
        """The observation of what was collected, with the Events about what does not start."""
        observation = observe(children, owner_uid=plan.uid, now=now)
        events = await self._events.about(plan.namespace, observation.unexplained)
        return observe(replace(children, events=events), owner_uid=plan.uid, now=now) if events else observation

    def _known(self, plan: Plan) -> Children:
        cache, namespace, serving = self._cache, plan.namespace, names.serving_name(plan.name)
        candidate = names.candidate_name(plan.name)
        return Children(
            jobs=cache.children("Job", namespace, plan.name),
            pods=cache.children("Pod", namespace, plan.name),
            deployment=cache.get("Deployment", namespace, serving),
            service=cache.get("Service", namespace, serving),
            candidate=cache.get("Deployment", namespace, candidate),
            candidate_service=cache.get("Service", namespace, candidate),
            disruption_budget=cache.get("PodDisruptionBudget", namespace, serving),
            http_route=cache.get("HTTPRoute", namespace, serving),
            ingress=cache.get("Ingress", namespace, serving),
            config_maps=cache.children("ConfigMap", namespace, plan.name),
            host=self._shared_servers.host(plan),
            guests=self._shared_servers.guests(plan),
        )

    async def _with_late_pods(self, plan: Plan, previous: DistillationStatus, children: Children) -> Children:
        """The children with the Pods as they are at this moment, where an attempt's Job has ended and its Pod does not
        say how: judged by the Job alone, what is done would be done again."""
        under_way = {record.job for record in previous.stages if not record.completion_time and not record.reason}
        jobs = (job for job in children.jobs if job["metadata"]["name"] in under_way)
        if not any(lacks_the_end_of_its_pod(job, children.pods) for job in jobs):
            return children
        async for page in self._cluster.pages("Pod", plan.namespace, names.child_selector(plan.name)):
            for pod in page.objects:
                self._cache.put("Pod", pod)
        return replace(children, pods=self._cache.children("Pod", plan.namespace, plan.name))

    async def _named(self, namespace: str, named: Iterable[tuple[str, str]]) -> list[Manifest | None]:
        """The objects of these kinds and names that are not known to be ours."""
        unknown = ((kind, name) for kind, name in named if not self._cache.version(kind, namespace, name))
        return await asyncio.gather(*(self._cluster.get(kind, namespace, name) for kind, name in unknown))

    async def _claim(self, plan: Plan) -> Manifest | None:
        if plan.spec.storage.claim_name is None:
            return self._cache.get("PersistentVolumeClaim", plan.namespace, plan.claim_name)
        return await self._given_claim(plan.namespace, plan.claim_name)

    async def _given_claim(self, namespace: str, name: str) -> Manifest | None:
        read_at, claim = self._given_claims.get((namespace, name), (float("-inf"), None))
        if claim is not None and monotonic() - read_at < GIVEN_CLAIM_SECONDS:
            return claim
        claim = await self._cluster.get("PersistentVolumeClaim", namespace, name)
        self._given_claims.pop((namespace, name), None)
        if claim is not None and (claim.get("status") or {}).get("phase") == "Bound":
            # One without a volume is about to get it.
            self._given_claims[namespace, name] = monotonic(), claim
        self._drop_outdated_claims()
        return claim

    def _drop_outdated_claims(self) -> None:
        """Those of Distillations that are gone are not read again."""
        latest = monotonic() - GIVEN_CLAIM_SECONDS
        outdated = takewhile(lambda each: each[1][0] < latest, self._given_claims.items())
        for key in [key for key, _ in outdated]:
            del self._given_claims[key]


def with_child(children: Children, child: Manifest | None, owner: str) -> Children:
    """The children of the Distillation `owner` and one more, which is not ours or which the cache does not know yet."""
    if child is None:
        return children
    is_candidates = child["metadata"]["name"] == names.candidate_name(owner)
    field = (_FIELDS_OF_CANDIDATE if is_candidates else _FIELDS).get(child["kind"])
    several = _SEVERAL.get(child["kind"])
    changes: dict[str, Any] = {field: child} if field else {}
    if several:
        others = (each for each in getattr(children, several) if each["metadata"]["name"] != child["metadata"]["name"])
        changes = {several: (*others, child)}
    return replace(children, **changes)
