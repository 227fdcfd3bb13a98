"""Events that are lost, late, repeated or out of order change nothing in the end."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from api_faults import WatchPlan

from .conftest import WHOLE, Life


def lost(line: bytes) -> Iterator[tuple[float, bytes]]:
    if random.random() < 0.5:
        yield 0.0, line


def late(line: bytes) -> Iterator[tuple[float, bytes]]:
    yield 3.0, line


def repeated(line: bytes) -> Iterator[tuple[float, bytes]]:
    yield from ((delay, line) for delay in (0.0, 0.1, 2.0))


def reordered(line: bytes) -> Iterator[tuple[float, bytes]]:
    yield random.uniform(0, 2), line


def everything(line: bytes) -> Iterator[tuple[float, bytes]]:
    plan = random.choice([lost, late, repeated, reordered])
    yield from plan(line)


PLANS: list[WatchPlan] = [lost, late, repeated, reordered, everything]


@pytest.mark.parametrize("plan", PLANS if WHOLE else [everything], ids=lambda plan: plan.__name__)
def test_life_ends_as_ever(life: Life, plan: WatchPlan) -> None:
    random.seed(7)
    life.faults.watch_plan = plan
    life.whole()
