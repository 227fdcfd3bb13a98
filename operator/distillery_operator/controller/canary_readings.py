"""Reads what the Pods of a canary have counted, beside the workers: a Pod that does not answer must keep no worker
waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from distillery_api.status import RequestCounters
from distillery_operator.core.observation import CanaryCounters, Observation, ObservedDeployment
from distillery_operator.core.server_counters import PodCounters

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

ReadCounters = Callable[[str], Awaitable[RequestCounters | None]]
"""Reads the counters of the Pod at an address; None where it does not answer."""

CONCURRENT = 16
"""Pods that are asked at the same time."""


@dataclass
class _Reading:
    due: float
    counters: CanaryCounters | None = None
    request: asyncio.Task[None] | None = None
    stable: PodCounters = field(default_factory=PodCounters)
    candidate: PodCounters = field(default_factory=PodCounters)


class CanaryReadings:
    """The counters of the Pods of canaries. `wake` is called with the key of a Distillation whose Pods have been read;
    `interval` is in seconds."""

    def __init__(
        self,
        read: ReadCounters,
        interval: float,
        wake: Callable[[Key], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._read, self._interval, self._wake, self._clock = read, interval, wake, clock
        self._readings: dict[Key, _Reading] = {}
        self._places = asyncio.Semaphore(CONCURRENT)

    def latest(self, key: Key) -> CanaryCounters | None:
        """The last reading; None where there is none, or a Pod did not answer."""
        reading = self._readings.get(key)
        return reading.counters if reading else None

    def ask(self, key: Key, observation: Observation) -> float:
        """Has the ready Pods of both servers read, where that is due. Returns the seconds until it is again."""
        reading = self._readings.setdefault(key, _Reading(self._clock()))
        if reading.request is None and reading.due <= self._clock():
            pods = [_addresses(each) for each in (observation.deployment, observation.candidate)]
            reading.due = self._clock() + self._interval
            reading.request = asyncio.create_task(self._request(key, reading, *pods))
        return max(reading.due - self._clock(), 1.0)

    def forget(self, key: Key) -> None:
        """The Distillation has no canary to be judged."""
        reading = self._readings.pop(key, None)
        if reading and reading.request:
            reading.request.cancel()

    async def _request(self, key: Key, reading: _Reading, stable: list[str], candidate: list[str]) -> None:
        before = reading.counters
        try:
            sums = await asyncio.gather(self._sum(stable, reading.stable), self._sum(candidate, reading.candidate))
        finally:
            reading.request = None
        reading.counters = CanaryCounters(sums[0], sums[1]) if sums[0] is not None and sums[1] is not None else None
        if reading.counters != before:
            self._wake(key)

    async def _sum(self, addresses: Sequence[str], pods: PodCounters) -> RequestCounters | None:
        """The counters of all Pods of a server until now; None where one of them does not answer."""
        counted = await asyncio.gather(*map(self._one, addresses))
        for address, counters in zip(addresses, counted, strict=True):
            if counters:
                pods.add(address, counters)
        return None if None in counted else pods.total()

    async def _one(self, address: str) -> RequestCounters | None:
        async with self._places:
            return await self._read(address)


def _addresses(deployment: ObservedDeployment | None) -> list[str]:
    return [pod.ip for pod in deployment.ready_pods if pod.ip] if deployment else []
