"""Keeps the object cache complete: lists everything once before any work, and again from time to time.

Kopf's watches bring what changes from the version on at which each begins. What there was before, at the start and
after an interruption, is listed once they have begun. A list also shows whether events still arrive: see watch health.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic

from distillery_api.resource import KIND
from distillery_operator.cluster.client import Cluster, Page
from distillery_operator.cluster.object_cache import OPTIONAL_KINDS, REQUIRED_KINDS, Name, listed_names, owner
from distillery_operator.controller.namespace_rights import NamespaceRights
from distillery_operator.controller.optional_kinds import OptionalKinds
from distillery_operator.controller.watch_health import MISSED_EVENT_SECONDS, WatchHealth
from distillery_operator.errors import ClusterError, Forbidden, NotFound
from distillery_operator.planning import names

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 30.0
BEGIN_SECONDS = 5.0
"""How long the first list waits for the watches to begin; it is repeated for those that begin later."""
RELIST_SECONDS = 5.0
"""How long after a watch has begun anew all is listed: those of other kinds are about to begin as well."""

Scope = str | None
"""A namespace, or None for all."""


class CacheSync:
    """Lists all kinds in every scope. `changed` is called with the key of each Distillation to reconcile for it;
    `watches` is the number of watches that are about to begin."""

    def __init__(
        self,
        cluster: Cluster,
        scopes: Iterable[Scope],
        watch_health: WatchHealth,
        changed: Callable[[Name], None],
        rights: NamespaceRights | None = None,
        *,
        watches: int = 0,
    ) -> None:
        self._cluster, self._cache = cluster, cluster.cache
        self._scopes = tuple(scopes)
        self._watch_health, self._changed = watch_health, changed
        self._rights = rights or NamespaceRights(lambda *_: None)
        self.optional_kinds = OptionalKinds()
        self._complete: set[Scope] = set()
        self._awaited_watches, self._watches_begun = watches, asyncio.Event()
        self._begun = False
        self._tried = asyncio.Event()
        self._requested = asyncio.Event()

    def is_complete(self, namespace: str) -> bool:
        """Whether all that exists in a namespace has been listed, so that what is not known does not exist."""
        return None in self._complete or namespace in self._complete

    async def wait_until_tried(self) -> None:
        """Return once every scope has been listed, or refused."""
        await self._tried.wait()

    def watch_begins(self) -> None:
        """A watch begins to bring events, at the start or after an interruption."""
        self._awaited_watches -= 1
        if self._awaited_watches <= 0:
            self._watches_begun.set()
        if self._begun:
            self._requested.set()

    def written(self, kinds: Iterable[str]) -> None:
        """Objects of these kinds were written. One that the cluster did not serve before can be watched now."""
        if self.optional_kinds.includes_unread(kinds):
            self._requested.set()

    async def run(self, interval: float) -> None:
        """List until cancelled: at once, every `interval` seconds, and sooner what could not be listed."""
        await self._wait_for_watches()
        failures, requested, begun, failed = 0, True, 0.0, self._scopes
        while True:
            if requested or monotonic() - begun >= self._interval(interval):
                begun, failed = monotonic(), self._scopes
            failed = await self._list_all(failed)
            failures = failures + 1 if failed else 0
            rest = begun + self._interval(interval) - monotonic()
            requested = await self._pause(min(rest, _retry_seconds(failures)))

    async def _wait_for_watches(self) -> None:
        if self._awaited_watches > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._watches_begun.wait(), BEGIN_SECONDS)
        self._begun = True

    def _interval(self, interval: float) -> float:
        return min(interval, MISSED_EVENT_SECONDS + 1) if self._watch_health.awaits_events else interval

    async def _pause(self, seconds: float) -> bool:
        """Wait; returns whether a list of all was requested meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._requested.wait()
        except TimeoutError:
            return False
        self._requested.clear()
        await asyncio.sleep(RELIST_SECONDS)
        return True

    async def _list_all(self, scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
        """List the scopes; returns those that could not be. One of these does not keep the others from working."""
        failed = tuple([scope for scope in scopes if not await self._try_to_list(scope)])
        self._tried.set()
        return failed

    async def _try_to_list(self, scope: Scope) -> bool:
        try:
            for kind in REQUIRED_KINDS:
                await self._list(kind, scope)
        except Forbidden as error:
            self._rights.refused(scope, error)
            return False
        except ClusterError as error:
            logger.warning("cannot list what is in %s: %s", scope or "all namespaces", error)
            return False
        self._rights.granted(scope)
        for kind in OPTIONAL_KINDS:
            await self._list_optional(kind, scope)
        if scope not in self._complete:
            self._complete.add(scope)
            self._add_all(scope)
        return True

    async def _list_optional(self, kind: str, scope: Scope) -> None:
        try:
            await self._list(kind, scope)
        except ClusterError as error:
            # Whatever the cause, such as a broken conversion webhook of its CRD: what needs no route goes on.
            usual = isinstance(error, NotFound | Forbidden)
            logger.log(logging.DEBUG if usual else logging.WARNING, "cannot list %s objects: %s", kind, error)
        else:
            self.optional_kinds.found(kind)

    async def _list(self, kind: str, scope: Scope) -> None:
        listed, version = set[Name](), ""
        selector = None if kind == KIND else names.MANAGED_BY_SELECTOR
        async for page in self._cluster.pages(kind, scope, selector):
            listed.update(listed_names(page.objects))
            version = page.version
            self._take_over(kind, page)
        for key in self._cache.keep_only(kind, scope, listed, version):
            self._changed(key)

    def _take_over(self, kind: str, page: Page) -> None:
        for manifest in page.objects:
            key = manifest["metadata"]["namespace"], owner(kind, manifest)
            if self._cache.put(kind, manifest):
                self._changed(key)
            if kind == KIND:
                self._watch_health.read(key, manifest["metadata"]["resourceVersion"], monotonic())

    def _add_all(self, scope: Scope) -> None:
        """Work on what was known before the scope was complete has waited for it."""
        for key in self._cache.keys(scope):
            self._changed(key)


def _retry_seconds(failures: int) -> float:
    """How soon to list again what could not be listed."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_SECONDS) if failures else float("inf")
