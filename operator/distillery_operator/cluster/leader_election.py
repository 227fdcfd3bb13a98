"""Leader election by a Lease: of several replicas one works, and one that can no longer renew its lease stops.

The election of the Kubernetes client cannot be used: a connection error ends its loop but not the work, nor does
cancelling it end the work; it writes local time as UTC; and it never releases the lease. The rules are those of
client-go (`k8s.io/client-go/tools/leaderelection`): clocks of different machines are never compared; a follower takes
over a lease only after it has itself seen no renewal for the lease's whole duration; a leader stops work before that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from distillery_operator.errors import ClusterError, Conflict, Forbidden, LeadershipLost, NotFound

REPEATED_WARNING_SECONDS = 60.0

logger = logging.getLogger(__name__)

Manifest = dict[str, Any]


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds. A leader that has not renewed for `renew_deadline` stops, before others may take over at `duration`."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0
    request_timeout: float = 5.0


class LeaseStore(Protocol):
    """The Lease object in the cluster. Each method raises ClusterError."""

    async def read_lease(self) -> Manifest:
        """The Lease; raises NotFound."""

    async def create_lease(self, spec: Manifest) -> Manifest:
        """Create the Lease, where the chart has not."""

    async def replace_lease(self, lease: Manifest) -> Manifest:
        """Write the Lease back; raises Conflict if it has changed since."""


@dataclass(frozen=True)
class _ObservedLease:
    """A Lease, and when this process last saw it change, by its own monotonic clock."""

    lease: Manifest
    at: float

    @property
    def holder(self) -> str:
        return str(self.lease.get("spec", {}).get("holderIdentity") or "")

    @property
    def duration(self) -> float:
        return float(self.lease.get("spec", {}).get("leaseDurationSeconds") or 0)

    @property
    def version(self) -> object:
        return self.lease.get("metadata", {}).get("resourceVersion")


class Leader:
    """One replica's part in the election. `on_change` is called with whether it leads."""

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        times: LeaseTimes | None = None,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._store, self._identity, self._on_change = store, identity, on_change
        self._times = times or LeaseTimes()
        self._seen: _ObservedLease | None = None
        self._warning, self._warned = "", 0.0

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then do `work` for as long as it can be renewed.

        Ends only by an exception, after the work has ended: LeadershipLost, what `work` raised, or a cancellation,
        which also releases the lease.
        """
        await self._acquire()
        logger.info("leading as %s", self._identity)
        self._on_change(True)
        try:
            await self._work_while_renewing(work)
        finally:
            self._on_change(False)
            await self._release()

    async def _acquire(self) -> None:
        while True:
            if await self._try_to_acquire_or_renew():
                return
            await asyncio.sleep(self._times.retry)

    async def _work_while_renewing(self, work: Callable[[], Awaitable[None]]) -> None:
        async def working() -> None:
            await work()

        tasks = [asyncio.create_task(self._renew(), name="lease renewal"), asyncio.create_task(working(), name="work")]
        try:
            finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in finished:
            task.result()
        raise LeadershipLost("the work ended while this replica held the lease")

    async def _renew(self) -> None:
        """Renew until that has failed for `renew_deadline`; raises LeadershipLost."""
        clock = asyncio.get_running_loop().time
        renewed = clock()
        while clock() - renewed < self._times.renew_deadline:
            await asyncio.sleep(self._times.retry)
            left = renewed + self._times.renew_deadline - clock()
            # Not wait_for: before Python 3.12 it may swallow a cancellation, and the work would never end.
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left, 0.001)):
                    if await self._try_to_acquire_or_renew():
                        renewed = clock()
            if self._seen and self._seen.holder not in ("", self._identity):
                raise LeadershipLost(f"{self._seen.holder} holds the lease now")
        raise LeadershipLost(f"the lease could not be renewed for {self._times.renew_deadline:g} s")

    async def _try_to_acquire_or_renew(self) -> bool:
        """Acquire or renew the lease; False where another replica holds it, or the API server does not answer."""
        try:
            async with asyncio.timeout(self._times.request_timeout):
                return await self._acquire_or_renew()
        except (ClusterError, TimeoutError) as error:
            self._warn(f"the lease could not be read or written: {error or 'timed out'}")
            return False

    def _warn(self, problem: str) -> None:
        """Log a problem, but not again with each attempt while it lasts."""
        now = asyncio.get_running_loop().time()
        if problem != self._warning or now - self._warned >= REPEATED_WARNING_SECONDS:
            logger.warning("%s", problem)
            self._warning, self._warned = problem, now

    async def _acquire_or_renew(self) -> bool:
        try:
            seen = self._observe(await self._store.read_lease())
        except NotFound:
            return self._observe(await self._create()).holder == self._identity
        if seen.holder not in ("", self._identity) and not self._has_expired(seen):
            return False
        try:
            written = await self._store.replace_lease({**seen.lease, "spec": self._spec(seen)})
        except Conflict:
            return False
        return self._observe(written).holder == self._identity

    async def _create(self) -> Manifest:
        """Create the Lease, which somebody has deleted, or never created."""
        try:
            return await self._store.create_lease(self._spec(None))
        except Forbidden as error:
            raise Forbidden(
                f"there is no Lease, and the operator may not create it: {error}. Create it, or apply the chart again"
            ) from error

    def _observe(self, lease: Manifest) -> _ObservedLease:
        now = asyncio.get_running_loop().time()
        seen = _ObservedLease(lease, now)
        if self._seen and self._seen.version == seen.version:
            seen = replace(seen, at=self._seen.at)
        self._seen = seen
        return seen

    def _has_expired(self, seen: _ObservedLease) -> bool:
        return asyncio.get_running_loop().time() - seen.at >= max(seen.duration, self._times.duration)

    def _spec(self, seen: _ObservedLease | None) -> Manifest:
        """The Lease's spec with this replica as its holder."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = seen.lease.get("spec", {}) if seen else {}
        still = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._times.duration),
            "acquireTime": before.get("acquireTime", now) if still else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if still else 1),
        }

    async def _release(self) -> None:
        """Release the lease if this replica still holds it, so that another need not wait for it to expire."""
        if not self._seen or self._seen.holder != self._identity:
            return
        spec = {**self._seen.lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(self._times.request_timeout):
                await self._store.replace_lease({**self._seen.lease, "spec": spec})
        except (ClusterError, TimeoutError) as error:
            logger.warning("the lease could not be released: %s", error or "timed out")
