"""What Kopf lists before it watches: of the children nothing but the version from which to watch them.

Kopf makes a task of each object that it lists, and a thousand Distillations have ten thousand children. `CacheSync`
lists the same ones in a fraction of the time, so they are left to it. Distillations are few, and watch health asks for
an event of each. Kopf has no setting for this, so the function with which it lists is replaced; the only import of its
client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import kopf
from kopf._cogs.clients import fetching

from distillery_api.resource import GROUP

Page = tuple[Collection[Any], str]
"""Objects, and the version that the whole list is of."""


@contextmanager
def without_children(watch_begins: Callable[[], None]) -> Iterator[None]:
    """Meanwhile, Kopf gets no children from its lists. `watch_begins` is called once Kopf has the version from which to
    watch objects of a kind: what happened before is in none of its events."""
    list_all = fetching.fetch_objs

    async def list_version(
        *, settings: kopf.OperatorSettings, resource: kopf.Resource, **where: Any
    ) -> AsyncIterator[Page]:
        is_child = resource.group != GROUP
        chosen, begun = _one_each(settings) if is_child else settings, False
        async for objects, version in list_all(settings=chosen, resource=resource, **where):
            if not begun:
                watch_begins()
                begun = True
            if is_child:
                yield (), version
                return
            yield objects, version

    fetching.fetch_objs = list_version
    try:
        yield
    finally:
        fetching.fetch_objs = list_all


def _one_each(settings: kopf.OperatorSettings) -> kopf.OperatorSettings:
    """The settings with lists of one object: the version is that of the whole list all the same."""
    return replace(settings, watching=replace(settings.watching, chunk_size=1))
