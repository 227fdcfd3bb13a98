"""Kopf's part of the process: it watches, and its handlers put what changed into the cache, and keys into the queue.
The only import of kopf, besides `kopf_listing`.

Kopf is an informer here and nothing else: no decision depends on what changed, and no finalizer or annotation of
Kopf's is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from itertools import chain, repeat
from random import random
from typing import Any

import kopf
from kopf._cogs.structs.references import Insights

from distillery_api.resource import GROUP, KIND
from distillery_operator.cluster.client import RESOURCES, Cluster
from distillery_operator.cluster.object_cache import KINDS, REQUIRED_KINDS, owner
from distillery_operator.controller.cache_sync import CacheSync
from distillery_operator.controller.kopf_listing import without_children
from distillery_operator.controller.reconcile import Key
from distillery_operator.controller.settings import OperatorSettings
from distillery_operator.controller.shared_servers import affected
from distillery_operator.controller.watch_health import WatchHealth, watch_problem
from distillery_operator.controller.work_queue import WorkQueue
from distillery_operator.planning import names

IDLE_SECONDS = 0.5
"""How long Kopf keeps an object that an event was about; at the start that is every object."""
LIST_CHUNK = 100
PROBE_PAUSES = (0.0, 0.2, 0.4)
"""Seconds before each attempt of one probe."""
EXIT_SECONDS = 10.0
"""How long Kopf may take to end."""


def _resource(kind: str) -> tuple[str, str, str]:
    group_version, plural = RESOURCES[kind]
    group, _, version = group_version.rpartition("/")
    return group, version, plural


WATCHED = tuple(_resource(kind) for kind in REQUIRED_KINDS)
"""Group, version and plural of the Distillations and of each kind of child that every cluster serves."""


class RequestBackoff:
    """Seconds between the attempts at a request, without end: one namespace without rights must not end the work in
    the others. Each is up to a quarter longer at random, so that replicas do not return to a recovering API server all
    at the same time."""

    def __iter__(self) -> Iterator[float]:
        for seconds in chain((0.5, 1.0, 2.0, 4.0, *[8.0] * 15), repeat(30.0)):
            yield seconds * (1 + random() / 4)


class _NoDifferences(kopf.DiffBaseStorage):
    """Kopf compares each object with its last handled state. No handler asks for that, and the copies that it takes
    cost more than the rest of an event."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing."""


class KopfHandlers:
    """What Kopf calls: on events, when it logs in, and for the liveness probe."""

    def __init__(
        self,
        settings: OperatorSettings,
        cluster: Cluster,
        queue: WorkQueue[Key],
        watch_health: WatchHealth,
        cache_sync: CacheSync,
    ) -> None:
        self._settings, self._cluster = settings, cluster
        self._queue, self._watch_health, self._cache_sync = queue, watch_health, cache_sync
        self._watched = list(WATCHED)

    async def on_event(self, event: kopf.RawEvent, resource: kopf.Resource, **_: Any) -> None:
        """An event of a Distillation or a child. What only repeats what is known, such as our own writes, causes no
        work."""
        kind, manifest = str(resource.kind), dict[str, Any](event["object"])
        key = _key(manifest["metadata"].get("namespace"), owner(kind, manifest))
        if kind == KIND:
            self._note_event(key, event)
        before = self._concerned(kind, manifest)
        if self._take_over(kind, manifest, deleted=event["type"] == "DELETED"):
            # A Distillation of which nothing is said yet goes before those to which something has just happened.
            is_new = kind == KIND and not manifest.get("status")
            for each in before | affected(self._cluster.cache, key):
                self._queue.add(each, first=is_new and each == key)

    def _concerned(self, kind: str, manifest: dict[str, Any]) -> frozenset[Key]:
        """The Distillations that an object concerned when it was seen last; none by what was not known before."""
        cache, namespace = self._cluster.cache, manifest["metadata"].get("namespace") or ""
        return affected(cache, (namespace, cache.owner(kind, namespace, manifest["metadata"]["name"])))

    def _take_over(self, kind: str, manifest: dict[str, Any], *, deleted: bool) -> bool:
        cache = self._cluster.cache
        return cache.delete(kind, manifest) if deleted else cache.put(kind, manifest)

    def _note_event(self, key: Key, event: kopf.RawEvent) -> None:
        if event["type"] == "DELETED":
            self._watch_health.deleted(key)
        else:
            self._watch_health.event_received(key, str(event["object"]["metadata"].get("resourceVersion", "")))

    async def log_in(self, **_: Any) -> kopf.ConnectionInfo:
        """The same credentials as for the operator's own requests."""
        credentials = await self._cluster.credentials()
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_path=credentials.ca_path,
            insecure=credentials.insecure,
            token=credentials.token,
            certificate_path=credentials.certificate_path,
            private_key_path=credentials.key_path,
        )

    async def problem(self) -> str | None:
        """Why this process no longer receives events; None where it does. The health server answers a moment before the
        watchers of a new process start, so this looks more than once."""
        problem = None
        for pause in PROBE_PAUSES:
            await asyncio.sleep(pause)
            problem = self._watch_problem()
            if problem is None:
                return None
        return problem

    def _watch_problem(self) -> str | None:
        living = {task.get_name() for task in asyncio.all_tasks() if not task.done()}
        return watch_problem(living, self.watches(), self._watch_health.missed_events)

    def watches(self) -> Iterator[str]:
        """What must be watched, as Kopf names it."""
        for namespace in self._settings.namespaces or (None,):
            for group, version, plural in self._watched:
                yield f"{plural}.{version}.{group}".rstrip(".") + f"@{namespace}"

    def registry(self) -> kopf.OperatorRegistry:
        """Which handler is called for what."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self.log_in)
        for watched in WATCHED:
            kopf.on.event(*watched, registry=registry)(self.on_event)
        return registry

    async def watch(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        """Watch until `stop` is set; `ready` is set once Kopf has started. Kopf ends, with an exception, where it can
        no longer watch."""
        namespaces, registry, insights = self._settings.namespaces, self.registry(), Insights()
        following = asyncio.create_task(self._watch_optional_kinds(registry, insights), name="optional kinds")
        try:
            with without_children(self._cache_sync.watch_begins):
                await kopf.operator(
                    registry=registry,
                    settings=kopf_settings(),
                    insights=insights,
                    clusterwide=not namespaces,
                    namespaces=namespaces,
                    standalone=True,
                    ready_flag=ready,
                    stop_flag=stop,
                )
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _watch_optional_kinds(self, registry: kopf.OperatorRegistry, insights: Insights) -> None:
        """Add each kind that the cluster turns out to serve to what Kopf watches. Kopf would find it only by watching
        all CustomResourceDefinitions, and would warn of it until then."""
        await insights.ready_resources.wait()
        while True:
            kind = await self._cache_sync.optional_kinds.next()
            group, version, plural = _resource(kind)
            kopf.on.event(group, version, plural, registry=registry)(self.on_event)
            async with insights.revised:
                insights.watched_resources.add(kopf.Resource(group, version, plural, kind=kind, namespaced=True))
                insights.revised.notify_all()
            self._watched.append((group, version, plural))


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf's settings, for a watcher that writes nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    # New kinds of resources do not appear while the operator runs, and namespaces need not be listed.
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = _NoDifferences()
    for kind in KINDS[1:]:
        settings.watching.label_selectors[_resource(kind)] = names.MANAGED_BY_SELECTOR
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.watching.chunk_size = LIST_CHUNK
    settings.watching.connect_timeout = 10
    settings.watching.client_timeout = 600
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = RequestBackoff()
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = EXIT_SECONDS
    return settings


def configure_logging(settings: OperatorSettings) -> None:
    """Log everything, Kopf's messages and the operator's own, in the format and from the level of the settings."""
    kopf.configure(
        debug=settings.log_level == "DEBUG",
        log_format=kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.FULL,
    )
    logging.getLogger().setLevel(settings.log_level)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_no_repeated_refusal)
    # These log every event and every probe; the operator logs what follows from them.
    for chatty in ("kopf.objects", "kopf.activities", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _is_no_repeated_refusal(record: logging.LogRecord) -> bool:
    """Kopf logs each attempt at a watch that is not allowed; `namespace_rights` says it once."""
    return not (record.name.startswith("kopf") and "APIForbiddenError" in record.getMessage())


def _key(namespace: str | None, name: str | None) -> Key:
    return namespace or "", name or ""
