"""What an event puts into the cache, and whom it wakes."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient

from distillery_operator.cluster.client import Cluster
from distillery_operator.controller.cache_sync import CacheSync
from distillery_operator.controller.kopf_handlers import KopfHandlers
from distillery_operator.controller.reconcile import Key
from distillery_operator.controller.settings import read_settings
from distillery_operator.controller.watch_health import WatchHealth
from distillery_operator.controller.work_queue import WorkQueue

SETTINGS = read_settings(
    {"DISTILLERY_TRAINER_IMAGE": "t:1", "DISTILLERY_VLLM_IMAGE": "v:1", "DISTILLERY_VLLM_CPU_IMAGE": "c:1"}
)


class Resource:
    kind = "Service"


@pytest.fixture
def queue() -> WorkQueue[Key]:
    return WorkQueue[Key]()


@pytest.fixture
async def handlers(queue: WorkQueue[Key]) -> KopfHandlers:
    cluster, watch_health = Cluster(ApiClient()), WatchHealth()
    return KopfHandlers(SETTINGS, cluster, queue, watch_health, CacheSync(cluster, [None], watch_health, queue.add))


def event(kind: str | None, version: int, **labels: str) -> Any:
    labels = {"app.kubernetes.io/managed-by": "distillery", **labels}
    metadata = {"namespace": "a", "name": "s", "resourceVersion": str(version), "labels": labels}
    return {"type": kind, "object": {"kind": "Service", "metadata": metadata}}


async def woken(queue: WorkQueue[Key]) -> set[Key]:
    """The keys that wait for a worker, which then are done."""
    keys = {await queue.take() for _ in range(len(queue))}
    for key in keys:
        queue.done(key)
    return keys


async def test_an_object_that_is_labelled_for_another_wakes_both(handlers: KopfHandlers, queue: WorkQueue[Key]) -> None:
    resource: Any = Resource()
    await handlers.on_event(event("ADDED", 5, **{"distillery.dev/name": "small"}), resource)
    assert await woken(queue) == {("a", "small")}

    await handlers.on_event(event("MODIFIED", 6, **{"distillery.dev/name": "other"}), resource)
    assert await woken(queue) == {("a", "small"), ("a", "other")}

    await handlers.on_event(event("MODIFIED", 7), resource)
    assert await woken(queue) == {("a", "other")}


async def test_what_is_known_already_wakes_nobody(handlers: KopfHandlers, queue: WorkQueue[Key]) -> None:
    resource: Any = Resource()
    await handlers.on_event(event("ADDED", 5, **{"distillery.dev/name": "small"}), resource)
    assert await woken(queue) == {("a", "small")}
    await handlers.on_event(event("ADDED", 5, **{"distillery.dev/name": "small"}), resource)
    assert await woken(queue) == set()


class DistillationResource:
    kind = "Distillation"


async def test_what_nothing_is_said_about_yet_goes_before_what_has_changed(
    handlers: KopfHandlers, queue: WorkQueue[Key]
) -> None:
    def distillation_event(name: str, status: dict[str, Any]) -> Any:
        metadata = {"namespace": "a", "name": name, "resourceVersion": "5", "uid": name}
        return {"type": "ADDED", "object": {"kind": "Distillation", "metadata": metadata, "spec": {}, **status}}

    resource: Any = DistillationResource()
    await handlers.on_event(distillation_event("known", {"status": {"observedGeneration": 1}}), resource)
    await handlers.on_event(distillation_event("new", {}), resource)
    assert [await queue.take(), await queue.take()] == [("a", "new"), ("a", "known")]
