"""The lists beside the watches: nothing is worked on before all is known, and what vanished unseen is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from distillery_operator.cluster.client import Cluster, Page
from distillery_operator.cluster.object_cache import KINDS, ObjectCache
from distillery_operator.controller import cache_sync
from distillery_operator.controller.cache_sync import CacheSync
from distillery_operator.controller.namespace_rights import NamespaceRights
from distillery_operator.controller.watch_health import WatchHealth
from distillery_operator.errors import ClusterError, Forbidden, NotFound, Unreachable

Raw = dict[str, Any]
KEY = ("a", "small")


def distillation(version: int = 5, name: str = "small", namespace: str = "a") -> Raw:
    return {"metadata": {"namespace": namespace, "name": name, "resourceVersion": str(version)}}


def child(version: int = 6, name: str = "j") -> Raw:
    labels = {"app.kubernetes.io/managed-by": "distillery", "distillery.dev/name": "small"}
    return {"metadata": {"namespace": "a", "name": name, "resourceVersion": str(version), "labels": labels}}


class Lists(Cluster):
    """A cluster that answers lists alone."""

    def __init__(self) -> None:
        self.cache = ObjectCache()
        self.objects: dict[str, list[Raw]] = {}
        self.failures: dict[str | None, ClusterError] = {}
        self.unserved: dict[str, ClusterError] = {}
        self.version, self.requests = 10, list[tuple[str, str | None, str | None]]()

    async def pages(self, kind: str, namespace: str | None, selector: str | None = None) -> AsyncIterator[Page]:
        self.requests.append((kind, namespace, selector))
        if namespace in self.failures:
            raise self.failures[namespace]
        if kind in self.unserved:
            raise self.unserved[kind]
        found = [each for each in self.objects.get(kind, ()) if namespace in (None, each["metadata"]["namespace"])]
        yield Page(found[:1], str(self.version))
        yield Page(found[1:], str(self.version))


def sync_of(lists: Lists, *scopes: str | None) -> tuple[CacheSync, list[tuple[str, str]]]:
    changed: list[tuple[str, str]] = []
    return CacheSync(lists, scopes or (None,), WatchHealth(), changed.append), changed


async def run_until_tried(sync: CacheSync) -> asyncio.Task[None]:
    task = asyncio.create_task(sync.run(600))
    await asyncio.wait_for(sync.wait_until_tried(), 5)
    return task


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


async def test_every_kind_is_listed_once_and_children_by_their_label() -> None:
    lists = Lists()
    sync, _ = sync_of(lists)
    task = await run_until_tried(sync)

    assert [kind for kind, _, _ in lists.requests] == list(KINDS)
    assert lists.requests[0] == ("Distillation", None, None)
    assert {selector for _, _, selector in lists.requests[1:]} == {"app.kubernetes.io/managed-by=distillery"}
    task.cancel()


async def test_all_that_exists_is_known_and_reconciled_once_it_is() -> None:
    lists = Lists()
    lists.objects = {"Distillation": [distillation(), distillation(name="other")], "Job": [child()]}
    sync, changed = sync_of(lists)
    assert not sync.is_complete("a")
    task = await run_until_tried(sync)

    assert sync.is_complete("a")
    assert set(changed) == {KEY, ("a", "other")}
    assert lists.cache.version("Job", "a", "j") == 6
    task.cancel()


async def test_a_namespace_that_may_not_be_listed_does_not_keep_another_from_working() -> None:
    lists = Lists()
    lists.objects = {"Distillation": [distillation()]}
    lists.failures = {"closed": Forbidden("no")}
    sync, changed = sync_of(lists, "closed", "a")
    task = await run_until_tried(sync)

    assert (sync.is_complete("closed"), sync.is_complete("a")) == (False, True)
    assert KEY in changed
    task.cancel()


async def test_a_list_that_failed_is_tried_again_soon() -> None:
    lists = Lists()
    lists.objects, lists.failures = {"Distillation": [distillation()]}, {None: Unreachable("away")}
    sync, changed = sync_of(lists)
    task = await run_until_tried(sync)
    assert not sync.is_complete("a")

    lists.failures = {}
    await until(lambda: sync.is_complete("a"))
    assert changed[-1] == KEY
    task.cancel()


async def test_what_was_deleted_unseen_is_reconciled_after_the_next_list() -> None:
    lists = Lists()
    lists.objects = {"Distillation": [distillation()], "Job": [child()]}
    sync, changed = sync_of(lists)
    task = asyncio.create_task(sync.run(0.05))
    await asyncio.wait_for(sync.wait_until_tried(), 5)
    changed.clear()

    lists.objects["Job"], lists.version = [], 11
    await until(lambda: not lists.cache.version("Job", "a", "j"))
    assert changed == [KEY]
    task.cancel()


async def test_a_change_that_no_event_has_reported_is_noted_for_the_watch_health() -> None:
    lists, health = Lists(), WatchHealth()
    lists.objects = {"Distillation": [distillation()]}
    sync = CacheSync(lists, (None,), health, lambda _: None)
    task = await run_until_tried(sync)

    assert health.awaits_events
    health.event_received(KEY, "5")
    assert not health.awaits_events
    task.cancel()


async def test_a_namespace_without_rights_is_named_once_and_picked_up_when_they_come(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_sync, "FIRST_RETRY_SECONDS", 0.001)
    caplog.set_level("INFO")
    lists, forbidden = Lists(), list[tuple[str, bool]]()
    lists.objects = {"Distillation": [distillation(), distillation(namespace="closed")]}
    lists.failures = {"closed": Forbidden("pods is forbidden")}
    rights = NamespaceRights(lambda *change: forbidden.append(change))
    sync = CacheSync(lists, ("closed", "a"), WatchHealth(), lambda _: None, rights)
    task = await run_until_tried(sync)
    await until(lambda: len([each for each in lists.requests if each[1] == "closed"]) > 3)
    assert [kind for kind, scope, _ in lists.requests if scope == "a"] == list(KINDS)
    assert set(forbidden) == {("closed", True), ("a", False)}

    lists.failures = {}
    await until(lambda: sync.is_complete("closed"))
    assert forbidden[-1] == ("closed", False)
    assert [record.message for record in caplog.records] == [
        "nothing happens in closed until the operator may list and watch there: pods is forbidden."
        " Check that it exists and is one of the chart's watchNamespaces, and apply the chart again",
        "the operator may list and watch in closed now",
    ]
    task.cancel()


@pytest.mark.parametrize(
    "error",
    [NotFound("no such API"), Forbidden("httproutes is forbidden"), Unreachable("conversion webhook failed: refused")],
)
async def test_a_kind_that_the_cluster_does_not_serve_keeps_nothing_from_working(
    error: ClusterError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_sync, "RELIST_SECONDS", 0.0)
    lists = Lists()
    lists.objects, lists.unserved = {"Distillation": [distillation()]}, {"HTTPRoute": error}
    sync, _ = sync_of(lists)
    task = await run_until_tried(sync)
    assert sync.is_complete("a")
    assert await sync.optional_kinds.next() == "Ingress"

    sync.written(["Deployment", "Ingress"])
    await asyncio.sleep(0)
    assert [kind for kind, _, _ in lists.requests].count("HTTPRoute") == 1

    lists.unserved = {}
    sync.written(["HTTPRoute"])
    assert await asyncio.wait_for(sync.optional_kinds.next(), 5) == "HTTPRoute"
    task.cancel()


async def test_the_first_list_waits_for_the_watches_that_are_about_to_begin() -> None:
    lists = Lists()
    sync = CacheSync(lists, (None,), WatchHealth(), lambda _: None, watches=2)
    task = asyncio.create_task(sync.run(600))
    sync.watch_begins()
    await asyncio.sleep(0.02)
    assert lists.requests == []

    sync.watch_begins()
    await asyncio.wait_for(sync.wait_until_tried(), 5)
    assert [kind for kind, _, _ in lists.requests] == list(KINDS)
    task.cancel()


async def test_what_was_before_a_watch_that_begins_late_is_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_sync, "BEGIN_SECONDS", 0.01)
    monkeypatch.setattr(cache_sync, "RELIST_SECONDS", 0.01)
    lists = Lists()
    lists.objects = {"Distillation": [distillation()]}
    changed: list[tuple[str, str]] = []
    sync = CacheSync(lists, (None,), WatchHealth(), changed.append, watches=1)
    task = await run_until_tried(sync)
    changed.clear()

    lists.objects["Job"], lists.version = [child(11)], 12
    sync.watch_begins()
    await until(lambda: bool(lists.cache.version("Job", "a", "j")))
    assert changed == [KEY]
    task.cancel()
