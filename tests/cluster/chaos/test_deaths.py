"""The operator is killed at each of its writes, through a whole life: at some of them twice in a row."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from api_faults import ApiRequest, Fault, Reset
from waiting import wait_until

from .conftest import WHOLE, Life

ONCE = (Reset(), Reset(delivered=True), None)
"""The first time the server never hears of a write, the second time its answer is lost, the third time all is well."""
TWICE = (Reset(), Reset(), Reset(delivered=True), Reset(delivered=True), None)


class DeathAtEachWrite:
    """Kills the operator at each write and starts it again; `deliveries` says what becomes of a write in turn."""

    def __init__(self, life: Life, deliveries: tuple[Fault | None, ...]) -> None:
        self._life, self._deliveries = life, deliveries
        self._seen: Counter[ApiRequest] = Counter()
        self._mutex = threading.Lock()
        self._dying = threading.Event()
        self.deaths = 0

    def __call__(self, request: ApiRequest) -> Fault | None:
        if request.verb in ("get", "list", "watch") or request.dry_run or "/events" in request.path:
            return None
        with self._mutex:
            if self._dying.is_set():
                return Reset()
            fault = self._deliveries[self._seen[request] % len(self._deliveries)]
            self._seen[request] += 1
            if fault is None:
                return None
            self._life.operator.pause()
            self._dying.set()
            self.deaths += 1
        threading.Timer(0.3, self._die).start()  # what is let through is done by then
        return fault

    def _die(self) -> None:
        self._life.operator.kill()
        self._dying.clear()
        self._life.operator.start()


@pytest.mark.parametrize("deliveries", [ONCE, TWICE] if WHOLE else [ONCE], ids=lambda plan: f"{len(plan)} deliveries")
def test_operator_killed_at_every_write_of_a_life_does_nothing_twice(
    life: Life, deliveries: tuple[Fault | None, ...]
) -> None:
    death = DeathAtEachWrite(life, deliveries)
    life.faults.plan = death
    life.distilled.apply()
    life.distilled.wait("Ready", "True", seconds=400)
    life.distilled.patch({"training": {"learningRate": 0.01}})
    life.distilled.wait("Ready", "Unknown", seconds=120)
    life.distilled.wait("Ready", "True", seconds=400)

    assert [each["attempts"] for each in life.distilled.status["stages"]] == [1, 1, 1, 1]
    assert death.deaths > 30
    life.faults.plan = lambda _: None
    wait_until(life.operator.leads, 60, "the operator")
    life.end()
    life.witness.assert_no_job_twice()
    life.witness.assert_no_status_backwards()
