"""The queue's promises: each key once, never two workers on one key, nothing lost, failures back off by key."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_operator.controller.work_queue import Backoff, WorkQueue, run_workers
from distillery_operator.errors import OperatorError


async def test_a_key_added_twice_is_handed_out_once() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.add("a")
    queue.add("b")

    assert [await queue.take(), await queue.take()] == ["a", "b"]
    assert len(queue) == 0


async def test_what_goes_first_leaves_every_fourth_turn_to_the_others() -> None:
    queue = WorkQueue[str]()
    for number in range(3):
        queue.add(f"other {number}")
    for number in range(6):
        queue.add(f"new {number}", first=True)

    assert [await queue.take() for _ in range(9)] == [
        *("new 0", "new 1", "other 0", "new 2", "new 3", "new 4", "other 1", "new 5", "other 2"),
    ]


async def test_a_key_waits_once_and_keeps_its_turn_among_those_that_go_first() -> None:
    queue = WorkQueue[str]()
    queue.add("other")
    queue.add("a")
    queue.add("a", first=True)
    queue.add("a")
    queue.add_after("a", 0.01)

    assert len(queue) == 2
    assert [await queue.take(), await queue.take()] == ["a", "other"]
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_is_handed_out_after_done() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.take()
    queue.add("a")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.02)
    queue.done("a")

    assert await asyncio.wait_for(queue.take(), 1) == "a"


async def test_a_key_not_added_again_stays_away_after_done() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.take()
    queue.done("a")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.02)


async def test_a_waiting_worker_gets_the_key_at_once() -> None:
    queue = WorkQueue[str]()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add("a")

    assert await asyncio.wait_for(waiting, 0.01) == "a"


async def test_a_delayed_key_comes_when_it_is_due() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 0.03)
    assert len(queue) == 0

    assert await asyncio.wait_for(queue.take(), 1) == "a"


async def test_the_earlier_of_two_delays_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 0.02)
    queue.add_after("a", 60)

    assert await asyncio.wait_for(queue.take(), 1) == "a"


async def test_a_key_added_now_is_not_handed_out_again_for_an_earlier_delay() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 0.02)
    queue.add("a")
    await queue.take()
    queue.done("a")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)


def test_back_off_doubles_up_to_the_longest_wait() -> None:
    backoff = Backoff(first=1, longest=5, jitter=0)

    assert [backoff.seconds(failures, Random(1)) for failures in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]


def test_back_off_adds_at_most_a_quarter_at_random() -> None:
    backoff = Backoff(first=100, longest=100, jitter=0.25)
    waits = [backoff.seconds(1, Random(seed)) for seed in range(50)]

    assert all(100 <= wait <= 125 for wait in waits)
    assert len(set(waits)) > 40


async def test_each_key_has_a_back_off_of_its_own_that_success_resets() -> None:
    queue = WorkQueue[str](Backoff(first=1, longest=60, jitter=0))

    assert [queue.retry("a"), queue.retry("a"), queue.retry("b")] == [1, 2, 1]
    queue.succeeded("a")
    assert queue.retry("a") == 1
    queue.close()


class Recorder:
    """Work that records its calls, and which of them overlap."""

    def __init__(self, act: Callable[[str, int], float | None]) -> None:
        self.act, self.calls, self.active, self.overlaps = act, list[str](), set[str](), 0

    async def __call__(self, key: str) -> float | None:
        self.overlaps += key in self.active
        self.active.add(key)
        self.calls.append(key)
        await asyncio.sleep(0.002)
        self.active.discard(key)
        return self.act(key, self.calls.count(key))


async def run_for(queue: WorkQueue[str], work: Recorder, seconds: float, resync: float = 60) -> None:
    task = asyncio.create_task(run_workers(queue, work, workers=3, resync_seconds=resync))
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    queue.close()


async def test_failing_work_is_retried_and_the_other_keys_go_on() -> None:
    def act(key: str, times: int) -> None:
        if key == "bad" and times < 3:
            raise OperatorError("the server is away")

    work, queue = Recorder(act), WorkQueue[str](Backoff(first=0.005, jitter=0))
    for key in ("bad", "good"):
        queue.add(key)
    await run_for(queue, work, 0.1)

    assert (work.calls.count("bad"), work.calls.count("good")) == (3, 1)


async def test_a_bug_in_the_work_is_logged_with_its_traceback_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    def act(_: str, times: int) -> None:
        if times == 1:
            raise KeyError("status")

    work, queue = Recorder(act), WorkQueue[str](Backoff(first=0.005, jitter=0))
    queue.add("a")
    await run_for(queue, work, 0.05)

    assert work.calls == ["a", "a"]
    assert "KeyError: 'status'" in caplog.text


async def test_work_is_repeated_after_the_seconds_it_returned_and_at_the_latest_at_the_resync() -> None:
    work, queue = Recorder(lambda key, _: 0.01 if key == "eager" else None), WorkQueue[str]()
    for key in ("eager", "calm"):
        queue.add(key)
    await run_for(queue, work, 0.5, resync=0.3)

    assert work.calls.count("calm") == 2
    assert work.calls.count("eager") > work.calls.count("calm")


@settings(max_examples=40, deadline=None)
@given(
    additions=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3), st.booleans()), max_size=40),
    failing=st.sets(st.sampled_from("abcd")),
)
def test_every_addition_is_followed_by_work_that_starts_after_it(
    additions: list[tuple[str, int, bool]], failing: set[str]
) -> None:
    """The promise that level-triggered work rests on, under any order of additions and failures."""

    async def scenario() -> None:
        queue = WorkQueue[str](Backoff(first=0.001, longest=0.002))
        clock = 0
        added: dict[str, int] = {}
        worked: dict[str, int] = {}

        def act(key: str, times: int) -> None:
            if key in failing and times % 2:
                raise OperatorError("not yet")

        class Stamping(Recorder):
            async def __call__(self, key: str) -> float | None:
                worked[key] = clock
                return await super().__call__(key)

        work = Stamping(act)
        workers = asyncio.create_task(run_workers(queue, work, workers=3, resync_seconds=60))
        for key, pauses, first in additions:
            clock += 1
            added[key] = clock
            queue.add(key, first=first)
            for _ in range(pauses):
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.03)
        workers.cancel()
        queue.close()

        assert work.overlaps == 0
        assert {key: worked[key] >= stamp for key, stamp in added.items()} == dict.fromkeys(added, True)

    asyncio.run(scenario())
