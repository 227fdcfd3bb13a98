"""The election's promises, with a Lease store that behaves as the API server does and fails on demand."""

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from distillery_operator.cluster.leader_election import Leader, LeaseTimes
from distillery_operator.errors import Conflict, Forbidden, LeadershipLost, NotFound, Unreachable

TIMES = LeaseTimes(duration=0.3, renew_deadline=0.15, retry=0.02, request_timeout=0.05)


class Store:
    """A Lease with a resourceVersion; `fault` says how the next requests go."""

    def __init__(self, lease: dict[str, Any] | None = None) -> None:
        self.lease, self.fault, self.version = lease, "", 1
        self.may_create = True

    async def _disturb(self) -> None:
        if self.fault == "unreachable":
            raise Unreachable("no answer")
        if self.fault == "hangs":
            await asyncio.sleep(60)
        if self.fault == "crash":
            raise OSError("not an error of ours")

    async def read_lease(self) -> dict[str, Any]:
        await self._disturb()
        if self.lease is None:
            raise NotFound("no Lease")
        return copy.deepcopy(self.lease)

    async def create_lease(self, spec: dict[str, Any]) -> dict[str, Any]:
        await self._disturb()
        if not self.may_create:
            raise Forbidden("leases is forbidden")
        return self._store({"metadata": {"name": "lease", "resourceVersion": "0"}, "spec": spec})

    async def replace_lease(self, lease: dict[str, Any]) -> dict[str, Any]:
        await self._disturb()
        assert self.lease is not None
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed meanwhile")
        return self._store(lease)

    def _store(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        return str(self.lease["spec"].get("holderIdentity", "")) if self.lease else ""


def empty_lease() -> dict[str, Any]:
    """As the chart makes it."""
    return {"metadata": {"name": "lease", "resourceVersion": "1"}, "spec": {}}


def held_lease(holder: str) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 0, "leaseTransitions": 4, "acquireTime": "then"}
    return {"metadata": {"name": "lease", "resourceVersion": "1"}, "spec": spec}


class Work:
    def __init__(self) -> None:
        self.started, self.stopped = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.stopped.set()

    @property
    def runs(self) -> bool:
        return self.started.is_set() and not self.stopped.is_set()


@asynccontextmanager
async def running(store: Store, identity: str, work: Work, **options: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(Leader(store, identity, TIMES, **options).lead(work))
    yield task
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def within(awaitable: Any, seconds: float = 1.0) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


@pytest.mark.parametrize("lease", [None, empty_lease()], ids=["no Lease", "the chart's Lease"])
async def test_a_free_lease_is_taken_and_the_work_starts(lease: dict[str, Any] | None) -> None:
    store, work = Store(lease), Work()

    async with running(store, "one", work):
        await within(work.started.wait())
        assert store.holder == "one"
        assert store.lease is not None
        assert store.lease["spec"]["leaseTransitions"] == 1


async def test_of_two_replicas_one_works() -> None:
    store, first, second = Store(empty_lease()), Work(), Work()

    async with running(store, "one", first), running(store, "two", second):
        await asyncio.sleep(0.5)
        assert [first.runs, second.runs].count(True) == 1


async def test_a_dead_leaders_lease_is_taken_over_only_after_its_whole_duration() -> None:
    store, work = Store(held_lease("dead")), Work()

    async with running(store, "one", work):
        await asyncio.sleep(0.2)
        assert not work.started.is_set()
        await within(work.started.wait())
        assert store.lease is not None
        assert store.lease["spec"]["leaseTransitions"] == 5


async def test_a_leader_that_renews_is_left_in_peace() -> None:
    store, first, second = Store(empty_lease()), Work(), Work()

    async with running(store, "one", first):
        await within(first.started.wait())
        async with running(store, "two", second):
            await asyncio.sleep(0.6)
            assert (first.runs, second.started.is_set(), store.holder) == (True, False, "one")


@pytest.mark.parametrize("fault", ["unreachable", "hangs"])
async def test_a_leader_cut_off_from_the_api_stops_its_work_before_others_may_take_over(fault: str) -> None:
    store, work = Store(empty_lease()), Work()

    async with running(store, "one", work) as election:
        await within(work.started.wait())
        store.fault = fault
        cut_off = asyncio.get_running_loop().time()
        with pytest.raises(LeadershipLost, match=r"could not be renewed for 0\.15 s"):
            await within(asyncio.shield(election))
        assert work.stopped.is_set()
        assert asyncio.get_running_loop().time() - cut_off < TIMES.duration


async def test_a_short_outage_does_not_end_the_leadership() -> None:
    store, work = Store(empty_lease()), Work()

    async with running(store, "one", work):
        await within(work.started.wait())
        store.fault = "unreachable"
        await asyncio.sleep(0.08)
        store.fault = ""
        await asyncio.sleep(0.3)
        assert work.runs


async def test_an_outage_while_waiting_for_the_lease_does_not_end_the_wait() -> None:
    store, work = Store(empty_lease()), Work()
    store.fault = "unreachable"

    async with running(store, "one", work):
        await asyncio.sleep(0.1)
        store.fault = ""
        await within(work.started.wait())


async def test_a_leader_whose_lease_was_taken_stops_at_once() -> None:
    store, work = Store(empty_lease()), Work()

    async with running(store, "one", work) as election:
        await within(work.started.wait())
        store._store(held_lease("usurper"))
        with pytest.raises(LeadershipLost, match="usurper holds the lease now"):
            await within(asyncio.shield(election), 0.1)
        assert work.stopped.is_set()
        assert store.holder == "usurper"


async def test_cancelling_stops_the_work_and_releases_the_lease() -> None:
    store, work = Store(empty_lease()), Work()

    async with running(store, "one", work):
        await within(work.started.wait())
    assert work.stopped.is_set()
    assert store.holder == ""


async def test_a_released_lease_is_taken_over_at_once() -> None:
    store, first, second = Store(empty_lease()), Work(), Work()

    async with running(store, "one", first):
        await within(first.started.wait())
        successor = asyncio.create_task(Leader(store, "two", TIMES).lead(second))
    await within(second.started.wait(), 0.1)
    successor.cancel()


async def test_an_error_that_nobody_foresaw_stops_the_work_too() -> None:
    store, work = Store(empty_lease()), Work()

    async with running(store, "one", work) as election:
        await within(work.started.wait())
        store.fault = "crash"
        with pytest.raises(OSError, match="not an error of ours"):
            await within(asyncio.shield(election))
        assert work.stopped.is_set()


async def test_an_error_of_the_work_ends_the_leadership_with_that_error() -> None:
    store = Store(empty_lease())

    async def broken() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await within(Leader(store, "one", TIMES).lead(broken))
    assert store.holder == ""


async def test_it_reports_when_it_starts_and_stops_leading() -> None:
    store, work, reported = Store(empty_lease()), Work(), list[bool]()

    async with running(store, "one", work, on_change=reported.append):
        await within(work.started.wait())
        assert reported == [True]
    assert reported == [True, False]


async def test_times_are_written_in_utc_with_microseconds() -> None:
    store, work = Store(empty_lease()), Work()

    async with running(store, "one", work):
        await within(work.started.wait())
        assert store.lease
        spec = store.lease["spec"]
        assert spec["renewTime"].endswith("Z")
        assert len(spec["renewTime"]) == len("2026-11-25T04:31:00.123456Z")
        assert spec["leaseDurationSeconds"] == 0


async def test_a_lease_that_is_deleted_while_its_holder_leads_is_made_again() -> None:
    store, work = Store(empty_lease()), Work()
    async with running(store, "one", work):
        await within(work.started.wait())
        store.lease = None
        await asyncio.sleep(0.1)
        assert (store.holder, work.runs) == ("one", True)


async def test_without_a_lease_and_the_right_to_create_one_it_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    store, work = Store(None), Work()
    store.may_create = False
    async with running(store, "one", work):
        await asyncio.sleep(0.2)
        assert not work.started.is_set()
        store.may_create = True
        await within(work.started.wait())
    assert [record.message for record in caplog.records if "Lease" in record.message] == [
        "the lease could not be read or written: there is no Lease, and the operator may not create it:"
        " leases is forbidden. Create it, or apply the chart again"
    ]
