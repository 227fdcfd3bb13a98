"""The pause before the same request is sent again."""

import random

import pytest

from distillery_trainer.chat.retries import retry_delay


@pytest.mark.parametrize(("attempt", "most"), [(2, 0.5), (3, 1.0), (4, 2.0), (9, 60.0), (40, 60.0)])
def test_back_off_doubles_up_to_a_minute_and_half_of_it_is_random(attempt, most):
    rng = random.Random(1)
    pauses = [retry_delay(attempt, None, rng) for _ in range(200)]
    assert most * 0.5 <= min(pauses) < most * 0.6
    assert most * 0.9 < max(pauses) <= most


@pytest.mark.parametrize("retry_after", [0.0, 1.0, 3600.0])
def test_back_off_is_never_shorter_than_the_server_asks(retry_after):
    rng = random.Random(1)
    assert all(retry_after <= retry_delay(2, retry_after, rng) <= retry_after + 1.0 for _ in range(200))
