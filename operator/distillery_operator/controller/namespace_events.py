"""The Events that may explain what does not start, read for a whole namespace at a time.

The API server finds the Events about one object by looking at all of the namespace, so a thousand Pods that wait would
cost it a million. One list serves all of them for a while.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

Manifest = dict[str, Any]

LISTED_SECONDS = 15.0
"""How long a list counts. What is unexplained is looked at again after a longer time."""
LATEST = 8
"""Events about one name that are kept; it may belong to objects of several kinds."""


@dataclass(frozen=True)
class _Listed:
    at: float
    """By the monotonic clock."""
    events: Mapping[str, tuple[Manifest, ...]]
    """By the name of the object that they are about."""


class NamespaceEvents:
    """The latest list of each namespace in which something is unexplained. `read` lists one namespace."""

    def __init__(self, read: Callable[[str], AsyncIterator[Manifest]], clock: Callable[[], float] = monotonic) -> None:
        self._read, self._clock = read, clock
        self._listed: dict[str, _Listed] = {}
        self._one_at_a_time = asyncio.Lock()

    async def about(self, namespace: str, names: Iterable[str]) -> tuple[Manifest, ...]:
        """The Events about the objects of these names; nothing is asked where there are none."""
        wanted = tuple(names)
        if not wanted:
            return ()
        events = (await self._current(namespace)).events
        return tuple(event for name in wanted for event in events.get(name, ()))

    async def _current(self, namespace: str) -> _Listed:
        async with self._one_at_a_time:
            self._drop_outdated()
            if namespace not in self._listed:
                self._listed[namespace] = _Listed(self._clock(), await self._list(namespace))
            return self._listed[namespace]

    async def _list(self, namespace: str) -> Mapping[str, tuple[Manifest, ...]]:
        by_name: dict[str, list[Manifest]] = defaultdict(list)
        async for event in self._read(namespace):
            about = by_name[event["involvedObject"].get("name", "")]
            about.append({key: event[key] for key in ("involvedObject", "reason", "message") if key in event})
            del about[:-LATEST]
        return {name: tuple(events) for name, events in by_name.items()}

    def _drop_outdated(self) -> None:
        latest = self._clock() - LISTED_SECONDS
        self._listed = {name: listed for name, listed in self._listed.items() if listed.at > latest}
