"""Which of several servers gets the next request, and which of them pause."""

import asyncio

import pytest

from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec.teacher import Limits
from distillery_trainer.chat.endpoint import Endpoint
from distillery_trainer.chat.error_responses import Allowance, CallError, FailureScope
from distillery_trainer.chat.server_pool import PooledServer, ServerPool


def lanes(count: int, calls_at_once: int = 8, **limits: int) -> list[PooledServer]:
    def lane() -> PooledServer:
        endpoint = Endpoint("http://127.0.0.1:9/v1", "m", None, {}, connections=1, timeout=1.0)
        return PooledServer(endpoint, Limits.model_validate(limits), calls_at_once)

    return [lane() for _ in range(count)]


SLOW_DOWN = CallError(RejectionReason("http_429"), "Slow down.", FailureScope.AGAIN, retry_after=1.0)
FOR_LONG = CallError(RejectionReason("http_429"), "Slow down.", FailureScope.AGAIN, retry_after=600.0)
BROKEN = CallError(RejectionReason("http_500"), "Oops.", FailureScope.AGAIN)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_calls_go_to_the_emptiest_server():
    pool = ServerPool(lanes(3), 100)
    taken = [await pool.take(1) for _ in range(6)]
    assert [lane.in_flight for lane in pool.lanes] == [2, 2, 2]
    assert set(taken) == set(pool.lanes)


async def test_no_more_calls_at_once_than_allowed_in_all():
    pool = ServerPool(lanes(3), 4)
    for _ in range(4):
        await pool.take(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.take(1), 0.02)
    pool.give_back(pool.lanes[0])
    assert await pool.take(1) is pool.lanes[0]


async def test_failing_server_rests_while_others_answer():
    pool = ServerPool(lanes(2), 100)
    failing, healthy = pool.lanes
    failing.failed(BROKEN, now(), now())
    assert [await pool.take(1) for _ in range(5)] == [healthy] * 5
    assert pool.others(failing)
    assert not pool.others(healthy)


async def test_servers_that_all_fail_are_asked_all_the_same():
    pool = ServerPool(lanes(2), 100)
    for lane in pool.lanes:
        lane.failed(BROKEN, now(), now())
    assert await asyncio.wait_for(pool.take(1), 0.1) in pool.lanes


async def test_server_is_asked_again_after_its_rest():
    pool = ServerPool(lanes(2, calls_at_once=1), 100)
    failing, healthy = pool.lanes
    failing.failed(BROKEN, now(), now())
    assert await pool.take(1) is healthy
    started = now()
    assert await asyncio.wait_for(pool.take(1), 2) is failing
    assert 0.3 < now() - started < 1.0


async def test_one_call_turned_away_does_not_stop_a_server():
    pool = ServerPool(lanes(1), 100)
    pool.lanes[0].failed(SLOW_DOWN, now(), now())
    assert await asyncio.wait_for(pool.take(1), 0.1) is pool.lanes[0]


@pytest.mark.parametrize("errors", [[SLOW_DOWN] * 5, [FOR_LONG]], ids=["five in a row", "for long"])
async def test_server_that_turns_everybody_away_is_left_alone_for_as_long_as_it_asks(errors):
    pool = ServerPool(lanes(1), 100)
    for error in errors:
        pool.lanes[0].failed(error, now(), now())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.take(1), 0.5)
    assert pool.lanes[0].is_paused(now() + errors[0].retry_after - 1)
    assert not pool.lanes[0].is_paused(now() + errors[0].retry_after + 1)


async def test_used_up_allowance_is_waited_for():
    pool = ServerPool(lanes(1), 100)
    pool.lanes[0].allow({"requests": Allowance(0, 0.3), "tokens": Allowance(50, 60.0)}, now())
    started = now()
    assert await asyncio.wait_for(pool.take(1), 2) is pool.lanes[0]
    assert 0.25 < now() - started < 1.0


async def test_limit_a_minute_holds_for_each_server():
    pool = ServerPool(lanes(2, requests_per_minute=61), 100)
    taken = [await pool.take(1) for _ in range(4)]
    assert sorted(taken.count(lane) for lane in pool.lanes) == [2, 2]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.take(1), 0.3)


async def test_closed_server_gets_nothing():
    pool = ServerPool(lanes(2), 100)
    pool.lanes[0].refusal = CallError(RejectionReason("http_401"), "No.", FailureScope.TEACHER)
    assert [await pool.take(1) for _ in range(3)] == [pool.lanes[1]] * 3


async def test_waiting_ends_with_the_pool():
    pool = ServerPool(lanes(1, calls_at_once=1), 100)
    await pool.take(1)
    waiting = asyncio.create_task(pool.take(1))
    await asyncio.sleep(0.01)
    pool.end()
    assert await waiting is None
    assert await pool.take(1) is None


async def test_place_of_somebody_who_left_goes_to_the_next():
    pool = ServerPool(lanes(1, calls_at_once=1), 100)
    await pool.take(1)
    first, second = (asyncio.create_task(pool.take(1)) for _ in range(2))
    await asyncio.sleep(0.01)
    pool.give_back(pool.lanes[0])
    first.cancel()
    assert await asyncio.wait_for(second, 1) is pool.lanes[0]
    assert pool.lanes[0].in_flight == 1
