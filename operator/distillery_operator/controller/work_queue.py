"""A queue of keys in the manner of client-go's: level-triggered work needs no event, only "look at this one again".

A key waits in it once, however often it is added; a key that is being worked on is handed out again only when its
worker is done, so two workers never hold the same key; a key that failed comes back after an exponential back-off of
its own; and a key can be put off. Nothing here is persistent: after a restart the initial list adds every key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from distillery_operator.errors import OperatorError

Key = TypeVar("Key", bound=Hashable)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """Seconds to wait after the n-th failure in a row: `first`, doubled each time, at most `longest`, up to a quarter
    of it more at random, so that keys that failed together do not come back together."""

    first: float = 0.25
    longest: float = 300.0
    jitter: float = 0.25

    def seconds(self, failures: int, random: Random) -> float:
        """The wait after `failures` failures in a row, the first being 1."""
        wait = min(self.first * 2.0 ** min(failures - 1, 32), self.longest)
        return wait * (1 + self.jitter * random.random())


class WorkQueue(Generic[Key]):
    """Keys to work on. All methods belong to one event loop."""

    def __init__(self, backoff: Backoff | None = None, random: Random | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._random = random or Random()
        self._ready: dict[Key, None] = {}  # ordered, and each key once
        self._working: set[Key] = set()
        self._again: set[Key] = set()  # added while being worked on
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._ready) + len(self._again)

    def add(self, key: Key) -> None:
        """Have `key` looked at as soon as a worker is free."""
        self._drop_timer(key)
        if key in self._working:
            self._again.add(key)
            return
        self._ready[key] = None
        self._filled.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Have `key` looked at in `seconds`, unless it is to be looked at earlier already."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        pending = self._timers.get(key)
        if key in self._ready or key in self._again or (pending is not None and pending.when() <= due):
            return
        self._drop_timer(key)
        self._timers[key] = loop.call_at(due, self.add, key)

    def retry(self, key: Key) -> float:
        """Have a key that failed looked at after its back-off; returns the wait in seconds."""
        self._failures[key] = self._failures.get(key, 0) + 1
        wait = self._backoff.seconds(self._failures[key], self._random)
        self.add_after(key, wait)
        return wait

    def succeeded(self, key: Key) -> None:
        """Start the key's back-off afresh."""
        self._failures.pop(key, None)

    async def take(self) -> Key:
        """The next key, once there is one; it is this caller's alone until `done`."""
        while not self._ready:
            self._filled.clear()
            await self._filled.wait()
        key = next(iter(self._ready))
        del self._ready[key]
        self._drop_timer(key)
        self._working.add(key)
        return key

    def done(self, key: Key) -> None:
        """Give a taken key back; if it was added meanwhile, it is ready again."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Drop every timer: nothing is handed out after the loop ends."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _drop_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()


Work = Callable[[Key], Awaitable[float | None]]
"""Looks at one key; returns the seconds until it wants to look again, or None where the slow resync will do."""


async def run_workers(queue: WorkQueue[Key], work: Work[Key], *, workers: int, resync_seconds: float) -> None:
    """Work on the queue's keys with `workers` at once, until cancelled.

    A failure of `work` is logged and the key comes back after its back-off; a key that is fine comes back after what
    `work` asked for, at the latest after about `resync_seconds`, in case an event was lost.
    """
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(_worker(queue, work, resync_seconds), name=f"worker {number}")


async def _worker(queue: WorkQueue[Key], work: Work[Key], resync_seconds: float) -> None:
    while True:
        key = await queue.take()
        try:
            await _work_on(queue, key, work, resync_seconds)
        finally:
            queue.done(key)


async def _work_on(queue: WorkQueue[Key], key: Key, work: Work[Key], resync_seconds: float) -> None:
    """One look at a key, and when the next one is due."""
    try:
        wanted = await work(key)
    except OperatorError as problem:
        logger.warning("%s: %s; again in %.1f s", key, problem, queue.retry(key))
    except Exception:
        # A bug must not end the worker: the other keys still have theirs to do.
        logger.exception("%s: the reconciliation crashed; again in %.1f s", key, queue.retry(key))
    else:
        queue.succeeded(key)
        queue.add_after(key, min(resync_seconds, wanted if wanted is not None else resync_seconds))
