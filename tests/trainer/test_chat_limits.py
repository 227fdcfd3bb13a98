"""How fast servers are asked: limits a minute, calls at once, and which of several servers gets the next call."""

import asyncio

import pytest

from distillery_api.spec.teacher import Limits
from distillery_trainer.chat.concurrency import ConcurrencyLimit
from distillery_trainer.chat.endpoint import Endpoint
from distillery_trainer.chat.error_responses import Allowance, CallError, FailureScope
from distillery_trainer.chat.rate_limits import RateLimit
from distillery_trainer.chat.server_pool import PooledServer, ServerPool

# --- limits a minute


def taken(limit: int, units: int, seconds: float) -> list[float]:
    """When somebody who takes `units` as soon as he may gets them."""
    rate, now, moments = RateLimit(limit), 0.0, []
    while now < seconds:
        rate.take(now, units)
        moments.append(now)
        now = max(now, rate.free_at)
    return moments


@pytest.mark.parametrize(("limit", "units"), [(1, 1), (60, 1), (600, 1), (60_000, 500)])
def test_no_minute_has_more_than_the_limit(limit, units):
    moments = taken(limit, units, 300.0)
    most = max(sum(1 for other in moments if start <= other < start + 60) for start in moments)
    assert most == limit // units


def test_units_are_spread_over_the_minute():
    assert taken(61, 1, 4.0) == pytest.approx([0.0, 0.0, 1.0, 2.0, 3.0], abs=1e-6)


def test_what_was_not_needed_is_given_back():
    rate = RateLimit(61)
    rate.take(0.0, 10)
    assert rate.free_at == pytest.approx(9.0)
    rate.take(1.0, -8)
    assert rate.free_at == pytest.approx(1.0)


def test_unused_minutes_are_not_saved_up():
    rate = RateLimit(61)
    rate.take(0.0, 1)
    rate.take(1000.0, 1)
    assert rate.free_at == pytest.approx(1000.0)


# --- calls at once


class Server:
    """A server that answers `at_once` calls together in a second each, and lets the others wait or turns them away."""

    def __init__(self, window: ConcurrencyLimit, at_once: int, *, turns_away: bool = False) -> None:
        self.window, self.at_once, self.turns_away = window, at_once, turns_away
        self.now = 0.0

    def rounds(self, count: int) -> list[int]:
        """The window's size before each of some rounds."""
        sizes = []
        for _ in range(count):
            size = self.window.size
            sizes.append(size)
            began, good = self.now, min(size, self.at_once)
            self.window.begun(began)
            self.now += 1.0 if self.turns_away else max(1.0, size / self.at_once)
            for number in range(max(size, 10)):
                self.window.answered(began, self.now, hurt=self.turns_away and number % size >= good, full=True)
        return sizes


def test_window_opens_up_to_what_the_user_allows():
    assert Server(ConcurrencyLimit(400), at_once=10_000).rounds(5) == [100, 200, 400, 400, 400]


def test_window_starts_no_wider_than_the_user_allows():
    assert ConcurrencyLimit(3).size == 3


def test_window_stops_where_more_calls_bring_no_more_replies():
    sizes = Server(ConcurrencyLimit(2000), at_once=200).rounds(60)
    assert max(sizes) <= 420
    assert all(200 <= size <= 420 for size in sizes[4:])


def test_window_closes_when_calls_are_turned_away_and_settles_at_what_is_borne():
    sizes = Server(ConcurrencyLimit(2000), at_once=50, turns_away=True).rounds(60)
    assert all(45 <= size <= 85 for size in sizes[4:])


def test_few_failures_among_many_replies_do_not_close_the_window():
    window = ConcurrencyLimit(100)
    for number in range(10_000):
        window.begun(number / 100)
        window.answered(number / 100, number / 100 + 0.2, hurt=number % 16 == 0, full=True)
    assert window.size == 100


def test_answers_to_calls_from_before_count_no_second_time():
    window = ConcurrencyLimit(64)
    window.begun(0.0)
    for _ in range(64 * 3):
        window.answered(0.0, 1.0, hurt=True, full=False)
    assert window.size == 32


def test_window_never_closes_altogether():
    window = ConcurrencyLimit(4)
    for second in range(100):
        window.begun(float(second))
        for _ in range(10):
            window.answered(float(second), second + 0.5, hurt=True, full=False)
    assert window.size == 1


# --- several servers


def lanes(count: int, calls_at_once: int = 8, **limits: int) -> list[PooledServer]:
    def lane() -> PooledServer:
        endpoint = Endpoint("http://127.0.0.1:9/v1", "m", None, {}, connections=1, timeout=1.0)
        return PooledServer(endpoint, Limits.model_validate(limits), calls_at_once)

    return [lane() for _ in range(count)]


SLOW_DOWN = CallError("http_429", "Slow down.", FailureScope.AGAIN, retry_after=1.0)
FOR_LONG = CallError("http_429", "Slow down.", FailureScope.AGAIN, retry_after=600.0)
BROKEN = CallError("http_500", "Oops.", FailureScope.AGAIN)


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
    pool.lanes[0].refusal = CallError("http_401", "No.", FailureScope.TEACHER)
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
