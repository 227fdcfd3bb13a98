"""Who shares a server with whom: what the cache knows of it, whom an event wakes, and what a reconciliation reads."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient

from distillery_api.resource import KIND
from distillery_operator.cluster.client import Cluster
from distillery_operator.cluster.object_cache import ObjectCache
from distillery_operator.cluster.parse_resource import read_distillation
from distillery_operator.controller.cache_sync import CacheSync
from distillery_operator.controller.kopf_handlers import KopfHandlers
from distillery_operator.controller.reconcile import Key
from distillery_operator.controller.settings import read_settings
from distillery_operator.controller.shared_servers import SharedServers, affected
from distillery_operator.controller.watch_health import WatchHealth
from distillery_operator.controller.work_queue import WorkQueue
from distillery_operator.planning.plan import Plan, make_plan
from simulated_cluster import spec

SETTINGS = read_settings(
    {"DISTILLERY_TRAINER_IMAGE": "t:1", "DISTILLERY_VLLM_IMAGE": "v:1", "DISTILLERY_VLLM_CPU_IMAGE": "c:1"}
)
Raw = dict[str, Any]


def distillation(name: str, version: int, host: str | None = None, **serving: Any) -> Raw:
    shared = {"sharedServer": host} if host else {}
    given = spec(serving={"adapter": "LoRA", **shared, **serving}, storage={"claimName": "models"})
    metadata = {"namespace": "a", "name": name, "uid": f"uid of {name}", "resourceVersion": str(version)}
    return {"apiVersion": "distillery.dev/v1alpha1", "kind": KIND, "metadata": metadata, "spec": given}


def child(kind: str, name: str, owner: str, version: int) -> Raw:
    labels = {"app.kubernetes.io/managed-by": "distillery", "distillery.dev/name": owner}
    metadata = {"namespace": "a", "name": name, "resourceVersion": str(version), "labels": labels}
    return {"kind": kind, "metadata": metadata}


@pytest.fixture
def cache() -> ObjectCache:
    cache = ObjectCache()
    for name, host in (("host", None), ("b", "host"), ("a", "host"), ("other", None)):
        cache.put(KIND, distillation(name, 5, host))
    return cache


def keys(*names: str) -> set[Key]:
    return {("a", name) for name in names}


def test_an_object_concerns_its_distillation_the_host_and_the_guests(cache: ObjectCache) -> None:
    assert affected(cache, ("a", "host")) == keys("host", "a", "b")
    assert affected(cache, ("a", "b")) == keys("b", "host")
    assert affected(cache, ("a", "other")) == keys("other")
    assert affected(cache, ("elsewhere", "host")) == {("elsewhere", "host")}
    assert affected(cache, ("a", "")) == set()


def test_a_guest_that_is_deleted_or_goes_to_another_host_is_none_of_the_first(cache: ObjectCache) -> None:
    cache.put(KIND, distillation("b", 6, "other"))
    assert (cache.guests("a", "host"), cache.guests("a", "other"), cache.host("a", "b")) == (("a",), ("b",), "other")
    cache.delete(KIND, distillation("a", 7))
    assert (cache.guests("a", "host"), cache.host("a", "a")) == ((), "")


def test_the_host_of_a_guest_whose_deletion_was_missed_is_reconciled(cache: ObjectCache) -> None:
    gone = cache.keep_only(KIND, "a", {("a", "host"), ("a", "a"), ("a", "other")}, "9")
    assert set(gone) == keys("b", "host")


class Resource:
    def __init__(self, kind: str) -> None:
        self.kind = kind


async def test_events_of_a_guest_wake_its_host_and_those_of_a_host_wake_its_guests(cache: ObjectCache) -> None:
    cluster, health, queue = Cluster(ApiClient()), WatchHealth(), WorkQueue[Key]()
    cluster.cache = cache
    handlers = KopfHandlers(SETTINGS, cluster, queue, health, CacheSync(cluster, [None], health, queue.add))

    async def woken_by(kind: str, manifest: Raw) -> set[Key]:
        resource: Any = Resource(manifest["kind"])
        event: Any = {"type": kind, "object": manifest}
        await handlers.on_event(event, resource)
        taken = {await queue.take() for _ in range(len(queue))}
        for key in taken:
            queue.done(key)
        return taken

    assert await woken_by("ADDED", child("ConfigMap", "a-adapters", "a", 6)) == keys("a", "host")
    assert await woken_by("MODIFIED", child("Deployment", "host", "host", 7)) == keys("host", "a", "b")
    assert await woken_by("DELETED", distillation("a", 8, "host")) == keys("a", "host")
    assert await woken_by("ADDED", distillation("c", 9, "host")) == keys("c", "host")
    assert await woken_by("DELETED", distillation("host", 10)) == keys("host", "b", "c")


def plan_of(resource: Raw) -> Plan | None:
    return None if "generation" not in resource["spec"] else make_plan(read_distillation(resource))


def plan(cache: ObjectCache, name: str) -> Plan:
    found = plan_of(cache.get(KIND, "a", name) or {})
    assert found is not None
    return found


def test_a_guest_sees_its_host_and_the_other_guests(cache: ObjectCache) -> None:
    for kind, name, owner in (
        ("Deployment", "host", "host"),
        ("ConfigMap", "host-adapters", "host"),
        ("ConfigMap", "b-adapters", "b"),
        ("Pod", "host-1", "host"),
    ):
        cache.put(kind, child(kind, name, owner, 6))
    shared = SharedServers(cache, plan_of)
    host, (other,) = shared.host(plan(cache, "a")), shared.guests(plan(cache, "a"))
    assert host is not None
    assert (host.plan and host.plan.name, host.invalid, host.stalled) == ("host", False, None)
    seen = [host.deployment, host.config_map, *host.pods, other.config_map]
    names = [each and each["metadata"]["name"] for each in seen]
    assert names == ["host", "host-adapters", "host-1", "b-adapters"]
    assert [each.plan.name for each in shared.guests(plan(cache, "host"))] == ["a", "b"]
    assert (shared.host(plan(cache, "host")), shared.guests(plan(cache, "other"))) == (None, ())


def test_a_guest_sees_why_its_host_is_stalled(cache: ObjectCache) -> None:
    stalled = {"type": "Stalled", "status": "True", "reason": "TooFewRows", "message": ""}
    stalled["lastTransitionTime"] = "2026-11-29T12:00:00Z"
    cache.put(KIND, {**distillation("host", 6), "status": {"conditions": [stalled]}})
    host = SharedServers(cache, plan_of).host(plan(cache, "a"))
    assert host is not None
    assert host.stalled == "TooFewRows"


def test_who_is_deleted_invalid_or_not_served_is_seen_so(cache: ObjectCache) -> None:
    guest, shared = plan(cache, "a"), SharedServers(cache, plan_of)
    cache.put(KIND, distillation("b", 6, "host", mode="None"))
    assert shared.guests(guest) == ()
    invalid = distillation("host", 7)
    del invalid["spec"]["generation"]
    cache.put(KIND, invalid)
    host = shared.host(guest)
    assert host is not None
    assert (host.plan, host.invalid) == (None, True)
    deleted = distillation("host", 8)
    deleted["metadata"]["deletionTimestamp"] = "2026-11-29T12:00:00Z"
    cache.put(KIND, deleted)
    host = shared.host(guest)
    assert host is not None
    assert (host.plan, host.invalid, host.deployment) == (None, False, None)
