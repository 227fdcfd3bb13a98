"""Each kind of request fails in each way, more than once: the life goes on as if it had not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import cycle

import pytest

from api_faults import ApiRequest, Fault, Hang, Refuse, Reset

from .conftest import WHOLE, Life

FAULTS: dict[str, Fault] = {
    "409": Refuse(409),
    "429": Refuse(429),
    "500": Refuse(500),
    "503": Refuse(503),
    "reset": Reset(),
    "reset after the deed": Reset(delivered=True),
    "time-out": Hang(35),
}
VERBS = ("get", "list", "watch", "post", "patch", "delete")
TIMES = 2
"""How often each request of one verb and path fails before it is let through."""


def first_times(fault: Fault, verbs: tuple[str, ...]) -> Callable[[ApiRequest], Fault | None]:
    seen: Counter[ApiRequest] = Counter()

    def plan(request: ApiRequest) -> Fault | None:
        seen[request] += 1
        return fault if request.verb in verbs and seen[request] <= TIMES else None

    return plan


def is_possible(verb: str, fault: Fault | None) -> bool:
    """Whether an API server could fail like that: what only reads conflicts with nothing."""
    return fault != Refuse(409) or verb not in ("get", "list", "watch")


class Mixture:
    """Each request fails the first time and every thirteenth time after that, each time in another way."""

    def __init__(self) -> None:
        self._seen: Counter[ApiRequest] = Counter()
        self._faults = cycle(fault for fault in FAULTS.values() if not isinstance(fault, Hang))

    def __call__(self, request: ApiRequest) -> Fault | None:
        self._seen[request] += 1
        fails = self._seen[request] % 13 == 1
        fault = next(self._faults) if fails else None
        return fault if is_possible(request.verb, fault) else None


@pytest.mark.skipif(not WHOLE, reason="make chaos runs each fault of each verb; here is a mixture of them")
@pytest.mark.parametrize(
    ("verb", "fault"), [(verb, fault) for verb in VERBS for fault in FAULTS if is_possible(verb, FAULTS[fault])]
)
def test_life_goes_on_when_one_verb_fails_in_one_way(life: Life, verb: str, fault: str) -> None:
    life.faults.plan = first_times(FAULTS[fault], (verb,))
    life.whole()


def test_life_goes_on_when_everything_fails_now_and_then(life: Life) -> None:
    life.faults.plan = Mixture()
    life.whole()


def test_refused_request_is_quoted_and_life_goes_on_once_it_is_allowed(life: Life) -> None:
    def refuse_jobs(request: ApiRequest) -> Fault | None:
        return Refuse(422) if request.verb == "post" and request.path.endswith("/jobs") else None

    life.faults.plan = refuse_jobs
    life.distilled.apply()
    life.distilled.wait("Stalled")
    assert "the test says 422" in life.distilled.message()
    life.faults.plan = lambda _: None
    life.distilled.kubectl("annotate", "distillation", "small", "distillery.dev/retry-at=2026-11-29T10:00:00Z")
    life.distilled.wait_ready(120)
    life.witness.assert_no_job_twice()
