"""A work queue like that of client-go: level-triggered work needs no event, only the key of what to reconcile.

A key waits in it once, however often it is added; a key that is being worked on is handed out again only when its
worker is done, so two workers never hold the same key; a key that failed is retried after an exponential back-off of
its own; a key can be added after a delay, or before those that can wait. Nothing is persistent: after a restart the
initial list adds every key.
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
    """Seconds to wait after the n-th failure in a row: `first`, doubled each time, at most `longest`, plus up to a
    quarter of it at random, so that keys that failed together are not retried together."""

    first: float = 0.25
    longest: float = 300.0
    jitter: float = 0.25

    def seconds(self, failures: int, random: Random) -> float:
        """The wait after `failures` failures in a row, the first being 1."""
        wait = min(self.first * 2.0 ** min(failures - 1, 32), self.longest)
        return wait * (1 + self.jitter * random.random())


TURNS = 4
"""Of so many keys that are handed out, one is of those that can wait, while others go first."""


class WorkQueue(Generic[Key]):
    """Keys to work on. All methods belong to one event loop."""

    def __init__(self, backoff: Backoff | None = None, random: Random | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._random = random or Random()
        self._first: dict[Key, None] = {}  # ordered, and each key once in both
        self._ready: dict[Key, None] = {}
        self._handed_out = 0
        self._working: set[Key] = set()
        self._added_again: set[Key] = set()  # added while being worked on
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are waiting for a worker."""
        return len(self._first) + len(self._ready) + len(self._added_again)

    def add(self, key: Key, *, first: bool = False) -> None:
        """Have `key` reconciled as soon as a worker is free; with `first`, before most of the others."""
        self._drop_timer(key)
        if key in self._working:
            self._added_again.add(key)
            return
        if first:
            self._ready.pop(key, None)
            self._first[key] = None
        elif key not in self._first:
            self._ready[key] = None
        self._filled.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Have `key` reconciled in `seconds`, unless it is due earlier already."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        pending = self._timers.get(key)
        if self._waits(key) or key in self._added_again or (pending is not None and pending.when() <= due):
            return
        self._drop_timer(key)
        self._timers[key] = loop.call_at(due, self.add, key)

    def retry(self, key: Key) -> float:
        """Have a key that failed reconciled again after its back-off; returns the wait in seconds."""
        self._failures[key] = self._failures.get(key, 0) + 1
        wait = self._backoff.seconds(self._failures[key], self._random)
        self.add_after(key, wait)
        return wait

    def succeeded(self, key: Key) -> None:
        """Reset the key's back-off."""
        self._failures.pop(key, None)

    async def take(self) -> Key:
        """Wait for the next key; no other caller gets it until `done`."""
        while not (self._first or self._ready):
            self._filled.clear()
            await self._filled.wait()
        waiting = self._next_to_serve()
        key = next(iter(waiting))
        del waiting[key]
        self._drop_timer(key)
        self._working.add(key)
        return key

    def done(self, key: Key) -> None:
        """The work on a key has ended; if the key was added meanwhile, it is ready again."""
        self._working.discard(key)
        if key in self._added_again:
            self._added_again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancel every timer: nothing is handed out after the loop ends."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _waits(self, key: Key) -> bool:
        return key in self._first or key in self._ready

    def _next_to_serve(self) -> dict[Key, None]:
        """What the next key is taken from; neither is empty for long while the other is not."""
        self._handed_out += 1
        others_turn = self._handed_out % TURNS == TURNS - 1
        return self._ready if self._ready and (others_turn or not self._first) else self._first

    def _drop_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()


Work = Callable[[Key], Awaitable[float | None]]
"""Reconciles one key; returns the seconds after which to do it again, or None where the resync is soon enough."""


async def run_workers(queue: WorkQueue[Key], work: Work[Key], *, workers: int, resync_seconds: float) -> None:
    """Work on the queue's keys with `workers` concurrent workers, until cancelled.

    A failure of `work` is logged and the key is retried after its back-off. After a success it is reconciled again
    after the seconds that `work` returned, at the latest after `resync_seconds`, in case an event was lost.
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
    """Reconcile one key, and plan when to do it again."""
    try:
        requeue_seconds = await work(key)
    except OperatorError as error:
        logger.warning("%s: %s; retrying in %.1f s", key, error, queue.retry(key))
    except Exception:
        # A bug must not end the worker: other keys still need it.
        logger.exception("%s: the reconciliation failed unexpectedly; retrying in %.1f s", key, queue.retry(key))
    else:
        queue.succeeded(key)
        queue.add_after(key, resync_seconds if requeue_seconds is None else min(resync_seconds, requeue_seconds))
