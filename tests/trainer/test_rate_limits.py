"""Limits per minute: never exceeded, and spread over the minute; and the pause of a server that answers HTTP 429."""

import pytest

from distillery_trainer.chat.rate_limits import RateLimit, ServerPause
from distillery_trainer.chat.response_headers import Allowance


def taken(limit: int, units: int, seconds: float) -> list[float]:
    """The times at which a client that takes `units` as soon as possible gets them."""
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


def test_units_that_were_not_needed_are_released():
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


# --- the pause of a server after HTTP 429


def test_single_429_does_not_pause_the_server():
    pause = ServerPause()
    pause.rate_limited(1.0, now=0.0, concurrency=8)
    assert not pause.is_on(0.0)


def test_429_with_a_long_retry_after_pauses_the_server():
    pause = ServerPause()
    pause.rate_limited(30.0, now=0.0, concurrency=8)
    assert pause.until == 30.0


def test_fifth_429_in_a_row_pauses_the_server_and_a_reply_starts_the_count_again():
    pause = ServerPause()
    for _ in range(4):
        pause.rate_limited(1.0, now=0.0, concurrency=8)
    pause.replied()
    for _ in range(4):
        pause.rate_limited(1.0, now=0.0, concurrency=8)
    assert not pause.is_on(0.0)
    pause.rate_limited(None, now=0.0, concurrency=8)
    assert pause.until == 0.5


def test_429_pauses_a_server_that_sustains_one_request():
    pause = ServerPause()
    pause.rate_limited(1.0, now=0.0, concurrency=1)
    assert pause.until == 1.0


def test_exhausted_allowance_pauses_the_server_for_a_minute_at_most():
    pause = ServerPause()
    pause.note_allowances([Allowance(1, 20.0), Allowance(0, 3600.0), Allowance(0, 2.0)], now=5.0)
    assert pause.until == 65.0
