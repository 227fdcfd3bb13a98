"""The Events that may explain what does not start, read for a whole namespace at a time.

The API server finds the Events about one object by looking at all of the namespace, so a thousand Pods that wait would
cost it a million. One list serves all of them for a while. It only explains what is known without it, so a list that
fails or takes long holds up no reconciliation: what the one before said counts on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from distillery_operator.errors import ClusterError

logger = logging.getLogger(__name__)

Manifest = dict[str, Any]
Events = Mapping[str, tuple[Manifest, ...]]
"""By the name of the object that they are about."""

LISTED_SECONDS = 15.0
"""How long a list counts. What is unexplained is looked at again after a longer time."""
PATIENCE_SECONDS = 5.0
"""How long after its begin a list is waited for; what it brings later is seen by the next reconciliation."""
KEPT_SECONDS = 900.0
"""How long the list of a namespace is kept that nobody asks about."""
LATEST = 8
"""Events about one name that are kept; it may belong to objects of several kinds."""


@dataclass
class _Namespace:
    """What is known of one namespace. Times are those of the monotonic clock."""

    needed: float = 0.0
    """When somebody last needed Events of it."""
    ended: float = float("-inf")
    """When the latest list was there, or failed."""
    events: Events = field(default_factory=dict)
    listing: asyncio.Task[None] | None = None
    patience_ends: float = 0.0
    """By the clock of the event loop."""


class NamespaceEvents:
    """The latest list of each namespace in which something is unexplained. `read` lists one namespace."""

    def __init__(self, read: Callable[[str], AsyncIterator[Manifest]], clock: Callable[[], float] = monotonic) -> None:
        self._read, self._clock = read, clock
        self._namespaces: dict[str, _Namespace] = {}

    async def about(self, namespace: str, names: Iterable[str]) -> tuple[Manifest, ...]:
        """The Events about the objects of these names; nothing is asked where there are none."""
        wanted = tuple(names)
        if not wanted:
            return ()
        known = self._current(namespace)
        await _wait_for(known)
        return tuple(event for name in wanted for event in known.events.get(name, ()))

    def _current(self, namespace: str) -> _Namespace:
        """The namespace, with a new list under way where it is time for one."""
        now = self._clock()
        self._drop_unneeded(now)
        known = self._namespaces.setdefault(namespace, _Namespace())
        known.needed = now
        if known.listing is None and known.ended <= now - LISTED_SECONDS:
            known.patience_ends = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            known.listing = asyncio.create_task(self._list(namespace, known), name=f"Events of {namespace}")
        return known

    async def _list(self, namespace: str, known: _Namespace) -> None:
        try:
            known.events = await self._listed(namespace)
        except ClusterError as error:
            logger.warning("cannot list the Events of %s: %s", namespace, error)
        finally:
            known.ended, known.listing = self._clock(), None

    async def _listed(self, namespace: str) -> Events:
        by_name: dict[str, list[Manifest]] = defaultdict(list)
        async for event in self._read(namespace):
            about = by_name[event["involvedObject"].get("name", "")]
            about.append({key: event[key] for key in ("involvedObject", "reason", "message") if key in event})
            del about[:-LATEST]
        return {name: tuple(events) for name, events in by_name.items()}

    def _drop_unneeded(self, now: float) -> None:
        unneeded = [name for name, known in self._namespaces.items() if known.needed < now - KEPT_SECONDS]
        for name in unneeded:
            if self._namespaces[name].listing is None:
                del self._namespaces[name]


async def _wait_for(known: _Namespace) -> None:
    if known.listing is not None:
        patience = known.patience_ends - asyncio.get_running_loop().time()
        await asyncio.wait({known.listing}, timeout=max(patience, 0.0))
