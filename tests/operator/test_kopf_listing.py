"""Kopf gets Distillations from its lists, and of their children only the version to watch from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

import kopf
import pytest
from kopf._cogs.clients import fetching

from distillery_operator.controller.kopf_handlers import kopf_settings
from distillery_operator.controller.kopf_listing import without_children

PODS = kopf.Resource("", "v1", "pods", kind="Pod", namespaced=True)
DISTILLATIONS = kopf.Resource("distillery.dev", "v1alpha1", "distillations", kind="Distillation", namespaced=True)

Pages = list[tuple[list[str], str]]


@pytest.fixture
def page_lengths(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The lengths of the pages that were asked for, of two objects in two pages."""
    lengths: list[int | None] = []

    async def two_pages(*, settings: kopf.OperatorSettings, **_: Any) -> AsyncIterator[tuple[Collection[str], str]]:
        lengths.append(settings.watching.chunk_size)
        yield ["a"], "7"
        yield ["b"], "7"

    monkeypatch.setattr(fetching, "fetch_objs", two_pages)
    return lengths


async def listed(resource: kopf.Resource) -> Pages:
    pages = fetching.fetch_objs(settings=kopf_settings(), resource=resource, namespace=None, logger=None)  # type: ignore[arg-type]
    return [(list(objects), version) async for objects, version in pages]  # type: ignore[misc]


async def test_of_children_there_is_the_version_alone(page_lengths: list[int | None]) -> None:
    begun: list[str] = []
    with without_children(lambda: begun.append("a watch")):
        assert await listed(PODS) == [([], "7")]
    assert (begun, page_lengths) == (["a watch"], [1])


async def test_distillations_are_listed_whole(page_lengths: list[int | None]) -> None:
    begun: list[str] = []
    with without_children(lambda: begun.append("a watch")):
        assert await listed(DISTILLATIONS) == [(["a"], "7"), (["b"], "7")]
    assert (begun, page_lengths) == (["a watch"], [100])  # once, for two pages


async def test_afterwards_kopf_lists_as_ever(page_lengths: list[int | None]) -> None:
    with without_children(lambda: None):
        pass
    assert await listed(PODS) == [(["a"], "7"), (["b"], "7")]
