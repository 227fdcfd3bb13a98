"""Watch health: whether this process still receives events. A watch can die in a process that answers every probe.

There are two signs that it does not: a watcher's task has ended, or a Distillation was read twice, two minutes apart,
in a version that no event has reported. An unreachable API server is no sign: a restart would not help.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

WATCHER_NAME = "watcher for "
"""How Kopf names the tasks that hold a watch."""

MISSED_EVENT_SECONDS = 120.0

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class _Gap:
    """A version that was read before an event reported it."""

    version: int
    since: float
    confirmed: bool = False


class WatchHealth:
    """Compares the versions that are read with those that events report. Versions of one kind of resource can be
    compared as numbers (Kubernetes 1.35, KEP 5504)."""

    def __init__(self) -> None:
        self._reported: dict[Key, int] = {}
        self._gaps: dict[Key, _Gap] = {}

    def event_received(self, key: Key, version: str) -> None:
        """An event reported `version`."""
        self._reported[key] = max(_number(version), self._reported.get(key, 0))
        gap = self._gaps.get(key)
        if gap and gap.version <= self._reported[key]:
            del self._gaps[key]

    def read(self, key: Key, version: str, now: float) -> bool:
        """`version` was read at the monotonic time `now`; returns whether its event is still missing."""
        if _number(version) <= self._reported.get(key, 0):
            self._gaps.pop(key, None)
            return False
        gap = self._gaps.get(key)
        if gap is None:
            self._gaps[key] = _Gap(_number(version), now)
        elif now - gap.since > MISSED_EVENT_SECONDS:
            self._gaps[key] = _Gap(gap.version, gap.since, confirmed=True)
        return True

    def deleted(self, key: Key) -> None:
        """The object was deleted."""
        self._reported.pop(key, None)
        self._gaps.pop(key, None)

    @property
    def awaits_events(self) -> bool:
        """Whether a version was read whose event is still missing."""
        return bool(self._gaps)

    @property
    def missed_events(self) -> tuple[Key, ...]:
        """Objects whose changes no event has reported for too long."""
        return tuple(sorted(key for key, gap in self._gaps.items() if gap.confirmed))


def watch_problem(living_tasks: Collection[str], watches: Iterable[str], missed_events: Collection[Key]) -> str | None:
    """What is wrong, or None where nothing is.

    `living_tasks` are the names of all tasks that are not done, `watches` what must be watched, such as
    `pods.v1@team-a`; `@None` means all namespaces.
    """
    for watch in watches:
        if WATCHER_NAME + watch not in living_tasks:
            return f"there is no watcher for {watch}"
    if missed_events:
        namespace, name = next(iter(missed_events))
        return f"{namespace}/{name} changed more than {MISSED_EVENT_SECONDS:g} s ago, but no event has reported it"
    return None


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0
