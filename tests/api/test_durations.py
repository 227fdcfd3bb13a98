"""Durations, read and written."""

from datetime import timedelta

import pytest

from distillery_api.spec.durations import parse_duration, write_duration


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "1s"),
        (0.2, "1s"),
        (61, "1m1s"),
        (300, "5m"),
        (301, "6m"),
        (5_390, "1h30m"),
        (86_400, "1d"),
        (90_001, "1d1h1m"),
    ],
)
def test_a_time_is_written_as_users_write_it_and_never_shorter_than_it_is(seconds, written):
    assert write_duration(timedelta(seconds=seconds)) == written
    assert parse_duration(written) >= timedelta(seconds=seconds)
