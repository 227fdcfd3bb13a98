"""One list of Events serves everything in a namespace that does not start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from distillery_operator.controller.namespace_events import NamespaceEvents


class Events:
    """The Events of two namespaces, the lists that were asked for, and a clock."""

    def __init__(self) -> None:
        self.lists: list[str] = []
        self.now = 100.0
        self.names = ["a", "b", "b"]

    async def read(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        self.lists.append(namespace)
        for number, name in enumerate(self.names):
            about = {"kind": "Pod", "name": name}
            message = f"{namespace} {number}"
            yield {"metadata": {"name": "x"}, "involvedObject": about, "reason": "FailedMount", "message": message}


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
