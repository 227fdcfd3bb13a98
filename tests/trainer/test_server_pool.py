"""Which of several servers gets the next request, and which of them pause."""

import asyncio

import pytest

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec.teacher import Limits, Server
from distillery_trainer.chat.endpoint import Endpoint
from distillery_trainer.chat.error_responses import CallError, FailureScope
from distillery_trainer.chat.request_target import request_target
from distillery_trainer.chat.response_headers import Allowance
from distillery_trainer.chat.server_pool import PooledServer, ServerPool


def pooled_servers(count: int, max_concurrent_requests: int = 8, **limits: int) -> list[PooledServer]:
    def server() -> PooledServer:
        address = Server(url="http://127.0.0.1:9/v1")
        endpoint = Endpoint(request_target(address.url, None), "m", {}, connections=1, timeout=1.0, picture_url=str)
        return PooledServer(address, endpoint, Limits.model_validate(limits), max_concurrent_requests)

    return [server() for _ in range(count)]


SLOW_DOWN = CallError(RejectionReason("http_429"), "Slow down.", FailureScope.TRANSIENT, retry_after=1.0)
FOR_LONG = CallError(RejectionReason("http_429"), "Slow down.", FailureScope.TRANSIENT, retry_after=600.0)
BROKEN = CallError(RejectionReason("http_500"), "Oops.", FailureScope.TRANSIENT)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_requests_go_to_the_server_with_the_lowest_load():
    pool = ServerPool(pooled_servers(3), 100)
    taken = [await pool.acquire(1) for _ in range(6)]
    assert [server.in_flight for server in pool.servers] == [2, 2, 2]
    assert set(taken) == set(pool.servers)


async def test_no_more_concurrent_requests_than_allowed_in_all():
    pool = ServerPool(pooled_servers(3), 4)
    for _ in range(4):
        await pool.acquire(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.acquire(1), 0.02)
    pool.release(pool.servers[0])
    assert await pool.acquire(1) is pool.servers[0]


async def test_failing_server_backs_off_while_others_answer():
    pool = ServerPool(pooled_servers(2), 100)
    failing, healthy = pool.servers
    failing.failed(BROKEN, now(), now())
    assert [await pool.acquire(1) for _ in range(5)] == [healthy] * 5
    assert pool.has_alternative(failing)
    assert not pool.has_alternative(healthy)


async def test_servers_that_all_fail_get_requests_all_the_same():
    pool = ServerPool(pooled_servers(2), 100)
    for server in pool.servers:
        server.failed(BROKEN, now(), now())
    assert await asyncio.wait_for(pool.acquire(1), 0.1) in pool.servers


async def test_server_gets_requests_again_after_its_back_off():
    pool = ServerPool(pooled_servers(2, max_concurrent_requests=1), 100)
    failing, healthy = pool.servers
    failing.failed(BROKEN, now(), now())
    assert await pool.acquire(1) is healthy
    started = now()
    assert await asyncio.wait_for(pool.acquire(1), 2) is failing
    assert 0.3 < now() - started < 1.0


async def test_one_rate_limited_request_does_not_pause_a_server():
    pool = ServerPool(pooled_servers(1), 100)
    pool.servers[0].failed(SLOW_DOWN, now(), now())
    assert await asyncio.wait_for(pool.acquire(1), 0.1) is pool.servers[0]


@pytest.mark.parametrize("errors", [[SLOW_DOWN] * 5, [FOR_LONG]], ids=["five in a row", "for long"])
async def test_server_that_rate_limits_all_requests_is_paused_for_as_long_as_it_asks(errors):
    pool = ServerPool(pooled_servers(1), 100)
    for error in errors:
        pool.servers[0].failed(error, now(), now())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.acquire(1), 0.5)
    assert pool.servers[0].pause.is_on(now() + errors[0].retry_after - 1)
    assert not pool.servers[0].pause.is_on(now() + errors[0].retry_after + 1)


async def test_exhausted_allowance_is_waited_for():
    pool = ServerPool(pooled_servers(1), 100)
    pool.servers[0].note_allowances({"requests": Allowance(0, 0.3), "tokens": Allowance(50, 60.0)}, now())
    started = now()
    assert await asyncio.wait_for(pool.acquire(1), 2) is pool.servers[0]
    assert 0.25 < now() - started < 1.0


async def test_limit_per_minute_holds_for_each_server():
    pool = ServerPool(pooled_servers(2, requests_per_minute=61), 100)
    taken = [await pool.acquire(1) for _ in range(4)]
    assert sorted(taken.count(server) for server in pool.servers) == [2, 2]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.acquire(1), 0.3)


async def test_closed_server_gets_no_request():
    pool = ServerPool(pooled_servers(2), 100)
    pool.servers[0].closed_by = CallError(RejectionReason("http_401"), "No.", FailureScope.SERVER)
    assert [await pool.acquire(1) for _ in range(3)] == [pool.servers[1]] * 3


async def test_waiting_ends_with_the_pool():
    pool = ServerPool(pooled_servers(1, max_concurrent_requests=1), 100)
    await pool.acquire(1)
    waiting = asyncio.create_task(pool.acquire(1))
    await asyncio.sleep(0.01)
    pool.close()
    assert await waiting is None
    assert await pool.acquire(1) is None


async def test_server_of_a_cancelled_request_goes_to_the_next():
    pool = ServerPool(pooled_servers(1, max_concurrent_requests=1), 100)
    await pool.acquire(1)
    first, second = (asyncio.create_task(pool.acquire(1)) for _ in range(2))
    await asyncio.sleep(0.01)
    pool.release(pool.servers[0])
    first.cancel()
    assert await asyncio.wait_for(second, 1) is pool.servers[0]
    assert pool.servers[0].in_flight == 1
