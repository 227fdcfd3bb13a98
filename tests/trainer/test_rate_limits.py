"""Limits a minute: never exceeded, and spread over the minute."""

import pytest

from distillery_trainer.chat.rate_limits import RateLimit


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
