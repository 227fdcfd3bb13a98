"""A kind that the cluster does not serve at first is watched once it does, by the process that runs already."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from distillery_operator.cluster.client import RESOURCES, Cluster
from distillery_operator.cluster.object_cache import KINDS, REQUIRED_KINDS
from distillery_operator.controller import cache_sync
from distillery_operator.controller.cache_sync import CacheSync
from distillery_operator.controller.kopf_handlers import KopfHandlers
from distillery_operator.controller.reconcile import Key
from distillery_operator.controller.settings import read_settings
from distillery_operator.controller.watch_health import WatchHealth
from distillery_operator.controller.work_queue import WorkQueue

SETTINGS = read_settings(
    {"DISTILLERY_TRAINER_IMAGE": "t:1", "DISTILLERY_VLLM_IMAGE": "v:1", "DISTILLERY_VLLM_CPU_IMAGE": "c:1"}
)
LABELS = {"app.kubernetes.io/managed-by": "distillery", "distillery.dev/name": "small"}
ROUTE = {"metadata": {"namespace": "a", "name": "small", "resourceVersion": "7", "labels": LABELS}, "spec": {}}


class ApiServer:
    """Discovery, empty lists, and watches that stay open. That of HTTPRoutes reports one."""

    def __init__(self) -> None:
        self.served = set(KINDS) - {"HTTPRoute"}
        self.watches: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path == "/apis":
            return web.json_response({"groups": [*self._groups()]})
        plural = path.rpartition("/")[2]
        kind = next((kind for kind in self.served if RESOURCES[kind][1] == plural), None)
        if kind:
            return await self._watch(request, kind) if "watch" in request.query else self._list()
        resources = [*self._resources(path.removeprefix("/apis/").removeprefix("/api/"))]
        return web.json_response({"resources": resources}, status=200 if resources else 404)

    def _groups(self) -> Iterator[dict[str, Any]]:
        for group, _, version in {RESOURCES[kind][0].rpartition("/") for kind in self.served}:
            if group:
                yield {"name": group, "versions": [{"version": version}], "preferredVersion": {"version": version}}

    def _resources(self, group_version: str) -> Iterator[dict[str, Any]]:
        served = [(kind, RESOURCES[kind][1]) for kind in self.served if RESOURCES[kind][0] == group_version]
        for kind, plural in [*served, *([("Namespace", "namespaces")] if group_version == "v1" else [])]:
            yield {"name": plural, "kind": kind, "singularName": "", "namespaced": True, "verbs": ["list", "watch"]}

    def _list(self) -> web.Response:
        return web.json_response({"items": [], "metadata": {"resourceVersion": "5"}})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.watches.append(kind)
        if kind == "HTTPRoute":
            await response.write(json.dumps({"type": "ADDED", "object": ROUTE}).encode() + b"\n")
        await asyncio.sleep(60)
        return response


async def until(holds: Any, what: str) -> None:
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what)


async def test_a_kind_that_appears_later_is_watched_and_wakes_its_distillation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache_sync, "RELIST_SECONDS", 0.0)
    api, application = ApiServer(), web.Application()
    application.router.add_get("/{path:.*}", api.answer)
    async with TestServer(application) as server:
        cluster, health, queue = (
            Cluster(ApiClient(Configuration(host=str(server.make_url(""))))),
            WatchHealth(),
            WorkQueue[Key](),
        )
        sync = CacheSync(cluster, [None], health, queue.add)
        handlers, ready, stop = KopfHandlers(SETTINGS, cluster, queue, health, sync), asyncio.Event(), asyncio.Event()
        watching, listing = asyncio.create_task(handlers.watch(ready, stop)), asyncio.create_task(sync.run(600))
        await until(lambda: {*api.watches} == {*REQUIRED_KINDS, "Ingress"}, f"watches: {api.watches}")
        assert await handlers.problem() is None
        assert "httproutes" not in caplog.text

        api.served.add("HTTPRoute")
        sync.written(["HTTPRoute"])
        await until(lambda: cluster.cache.version("HTTPRoute", "a", "small") == 7, "the route was never reported")
        assert await queue.take() == ("a", "small")
        assert await handlers.problem() is None
        assert "httproutes.v1.gateway.networking.k8s.io@None" in handlers.watches()

        listing.cancel()
        stop.set()
        watching.cancel()
        await asyncio.gather(watching, listing, return_exceptions=True)
        await cluster.close()
