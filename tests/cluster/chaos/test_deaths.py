"""The operator is killed at each of its requests, through a whole life: at some of them twice in a row."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from itertools import cycle

import pytest

from api_faults import ApiRequest, Fault, Reset
from waiting import wait_until

from .conftest import WHOLE, Life

Deliveries = tuple[tuple[Fault | None, ...], ...]
"""What becomes of a request the first time, the second time and so on; new requests take the plans in turn."""
ALTERNATELY: Deliveries = ((Reset(), None), (Reset(delivered=True), None))
"""The first time the server never hears of it, or its answer is lost; the second time all is well."""
ONCE: Deliveries = ((Reset(), Reset(delivered=True), None),)
TWICE: Deliveries = ((Reset(), Reset(), Reset(delivered=True), Reset(delivered=True), None),)
SPARED = ("list", "watch") if WHOLE else ("list", "watch", "get")
"""What is asked at every start: an operator that dies of it each time does nothing else."""


class DeathAtEachRequest:
    """Kills the operator at each request and starts it again; `deliveries` says what becomes of a request in turn."""

    def __init__(self, life: Life, deliveries: Deliveries) -> None:
        self._life, self._plans = life, cycle(deliveries)
        self._deliveries: dict[ApiRequest, tuple[Fault | None, ...]] = {}
        self._seen: Counter[ApiRequest] = Counter()
        self._mutex = threading.Lock()
        self._dying = threading.Event()
        self.deaths = 0

    def __call__(self, request: ApiRequest) -> Fault | None:
        if request.verb in SPARED or request.dry_run or "/events" in request.path:
            return None
        with self._mutex:
            if self._dying.is_set():
                return Reset()
            deliveries = self._deliveries.get(request) or self._deliveries.setdefault(request, next(self._plans))
            fault = deliveries[self._seen[request] % len(deliveries)]
            self._seen[request] += 1
            if fault is None:
                return None
            self._life.operator.pause()
            self._dying.set()
            self.deaths += 1
        threading.Timer(0.3, self._die).start()  # what is let through is done by then
        return fault

    @property
    def kinds(self) -> set[str]:
        """The kinds of objects that requests were about."""
        paths = (request.path.partition("/namespaces/")[2] for request in self._seen)
        return {path.split("/")[1] for path in paths if path}

    def _die(self) -> None:
        self._life.operator.kill()
        self._dying.clear()
        self._life.operator.start()


LIVES: dict[str, Callable[[Life], None]] = {
    "gate and roll-back": Life.gate_and_roll_back,
    "canary and promotion": Life.take_over_by_shares,
}


@pytest.mark.parametrize(
    "deliveries", [ONCE, TWICE] if WHOLE else [ALTERNATELY], ids=["once", "twice"] if WHOLE else ["alternately"]
)
@pytest.mark.parametrize("life_of", LIVES if WHOLE else ["gate and roll-back"])
def test_operator_killed_at_every_request_of_a_life_does_nothing_twice(
    life: Life, life_of: str, deliveries: Deliveries
) -> None:
    death = DeathAtEachRequest(life, deliveries)
    life.faults.plan = death
    LIVES[life_of](life)

    assert [each["attempts"] for each in life.distilled.status["stages"]] == [1, 1, 1, 1]
    assert death.kinds >= {"distillations", "jobs", "configmaps", "deployments", "services", "persistentvolumeclaims"}
    assert death.deaths > 20
    life.faults.plan = lambda _: None
    wait_until(life.operator.leads, 60, "the operator")
    life.end()
    life.witness.assert_no_job_twice()
    life.witness.assert_no_status_backwards()
