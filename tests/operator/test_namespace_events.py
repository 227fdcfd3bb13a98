"""One list of Events serves everything in a namespace that does not start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from distillery_operator.controller import namespace_events
from distillery_operator.controller.namespace_events import NamespaceEvents
from distillery_operator.errors import Expired, Unreachable


class Events:
    """The Events of two namespaces, the lists that were asked for, and a clock."""

    def __init__(self) -> None:
        self.lists: list[str] = []
        self.now = 100.0
        self.names = ["a", "b", "b"]
        self.failure: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def read(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        self.lists.append(namespace)
        if namespace == "slow":
            await self.answers.wait()
        for number, name in enumerate(self.names):
            about = {"kind": "Pod", "name": name}
            message = f"{namespace} {number}"
            yield {"metadata": {"name": "x"}, "involvedObject": about, "reason": "FailedMount", "message": message}
        if self.failure:
            raise self.failure


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def known(events: Events) -> NamespaceEvents:
    return NamespaceEvents(events.read, lambda: events.now)


async def messages(known: NamespaceEvents, namespace: str, *names: str) -> list[str]:
    return [event["message"] for event in await known.about(namespace, names)]


async def test_a_thousand_pods_that_wait_cost_one_list(events: Events, known: NamespaceEvents) -> None:
    assert await messages(known, "team-a", "a") == ["team-a 0"]
    assert await messages(known, "team-a", "b") == ["team-a 1", "team-a 2"]
    for number in range(1000):
        assert await messages(known, "team-a", f"pod-{number}") == []
    assert events.lists == ["team-a"]


async def test_each_namespace_has_its_own_list(events: Events, known: NamespaceEvents) -> None:
    assert await messages(known, "team-a", "a") == ["team-a 0"]
    assert await messages(known, "team-b", "a") == ["team-b 0"]
    assert events.lists == ["team-a", "team-b"]


async def test_a_list_counts_for_a_quarter_of_a_minute(events: Events, known: NamespaceEvents) -> None:
    await known.about("team-a", ["a"])
    events.now += 14.9
    await known.about("team-a", ["a"])
    assert events.lists == ["team-a"]
    events.now += 0.2
    await known.about("team-a", ["a"])
    assert events.lists == ["team-a", "team-a"]


async def test_where_everything_is_explained_nothing_is_listed(events: Events, known: NamespaceEvents) -> None:
    assert await known.about("team-a", []) == ()
    assert events.lists == []


async def test_of_many_events_about_one_name_the_last_are_kept(events: Events, known: NamespaceEvents) -> None:
    events.names = ["a"] * 50
    assert await messages(known, "team-a", "a") == [f"team-a {number}" for number in range(42, 50)]


@pytest.mark.parametrize("failure", [Expired("the list is too old"), Unreachable("no answer")])
async def test_a_list_that_fails_leaves_what_was_known_and_is_not_repeated_at_once(
    events: Events, known: NamespaceEvents, failure: Exception
) -> None:
    assert await messages(known, "team-a", "a") == ["team-a 0"]
    events.now, events.failure, events.names = 120.0, failure, ["b", "a"]
    for _ in range(10):
        assert await messages(known, "team-a", "a") == ["team-a 0"]
    assert events.lists == ["team-a", "team-a"]
    events.now, events.failure = 140.0, None
    assert await messages(known, "team-a", "a") == ["team-a 1"]


async def test_a_slow_list_holds_up_neither_its_namespace_nor_another(
    events: Events, known: NamespaceEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace_events, "PATIENCE_SECONDS", 0.01)
    events.answers.clear()
    async with asyncio.timeout(30):
        for _ in range(100):
            assert await messages(known, "slow", "a") == []
        assert await messages(known, "team-a", "a") == ["team-a 0"]
        assert events.lists == ["slow", "team-a"]
        events.answers.set()
        await asyncio.gather(*(each for each in asyncio.all_tasks() if each.get_name() == "Events of slow"))
    assert await messages(known, "slow", "a") == ["slow 0"]
    assert events.lists == ["slow", "team-a"]


async def test_a_list_that_took_longer_than_it_counts_serves_all_the_same(
    events: Events, known: NamespaceEvents
) -> None:
    events.answers.clear()
    asking = asyncio.create_task(messages(known, "slow", "a"))
    await asyncio.sleep(0)
    events.now += 20
    events.answers.set()
    assert await asking == ["slow 0"]
    assert await messages(known, "slow", "b") == ["slow 1", "slow 2"]
    assert events.lists == ["slow"]


async def test_namespaces_that_nobody_asks_about_are_forgotten(events: Events, known: NamespaceEvents) -> None:
    await known.about("team-a", ["a"])
    events.now += 1000
    await known.about("team-b", ["a"])
    assert [*known._namespaces] == ["team-b"]
