"""The liveness probe as the kubelet sees it, over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from kubernetes.aio.client.api_client import ApiClient

from distillery_operator.cluster.client import Cluster
from distillery_operator.controller.cache_sync import CacheSync
from distillery_operator.controller.health_server import health_server
from distillery_operator.controller.kopf_handlers import KopfHandlers
from distillery_operator.controller.reconcile import Key
from distillery_operator.controller.settings import read_settings
from distillery_operator.controller.watch_health import WatchHealth
from distillery_operator.controller.work_queue import WorkQueue

SETTINGS = read_settings(
    {
        "DISTILLERY_TRAINER_IMAGE": "t:1",
        "DISTILLERY_VLLM_IMAGE": "v:1",
        "DISTILLERY_VLLM_CPU_IMAGE": "c:1",
        "DISTILLERY_NAMESPACES": "a",
    }
)


@pytest.fixture
async def handlers() -> KopfHandlers:
    """Handlers that are called for the probe only, so they need no connection."""
    cluster, queue, watch_health = Cluster(ApiClient()), WorkQueue[Key](), WatchHealth()
    cache_sync = CacheSync(cluster, SETTINGS.namespaces, watch_health, queue.add)
    return KopfHandlers(SETTINGS, cluster, queue, watch_health, cache_sync)


@pytest.fixture(params=["127.0.0.1", "[::1]"])
async def url(handlers: KopfHandlers, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if ":" in request.param and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with health_server(port, handlers.problem):
        yield f"http://{request.param}:{port}/healthz"


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


async def test_it_fails_while_a_watcher_is_missing(url: str) -> None:
    assert await status_of(url) == 500


async def test_it_passes_while_all_watchers_live(handlers: KopfHandlers, url: str) -> None:
    watchers = [asyncio.create_task(asyncio.sleep(60), name=f"watcher for {watch}") for watch in handlers.watches()]
    assert await status_of(url) == 200
    for watcher in watchers:
        watcher.cancel()


async def test_it_gives_the_watchers_of_a_fresh_process_a_moment(handlers: KopfHandlers, url: str) -> None:
    probed = asyncio.create_task(status_of(url))
    await asyncio.sleep(0.1)
    watchers = [asyncio.create_task(asyncio.sleep(60), name=f"watcher for {watch}") for watch in handlers.watches()]
    assert await probed == 200
    for watcher in watchers:
        watcher.cancel()


def test_it_watches_what_is_needed_and_no_more(handlers: KopfHandlers) -> None:
    assert list(handlers.watches()) == [
        "distillations.v1alpha1.distillery.dev@a",
        "jobs.v1.batch@a",
        "pods.v1@a",
        "deployments.v1.apps@a",
        "services.v1@a",
        "poddisruptionbudgets.v1.policy@a",
        "persistentvolumeclaims.v1@a",
        "configmaps.v1@a",
    ]
