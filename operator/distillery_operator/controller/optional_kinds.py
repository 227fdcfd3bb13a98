"""Kinds of children that a cluster need not serve, such as the routes of the Gateway API, or that the operator may not
read. While it cannot list one, nothing of it is watched; each relist tries again.

Where such a kind disappears later, its watch ends, and the liveness probe has the process started again without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from distillery_operator.cluster.object_cache import OPTIONAL_KINDS

logger = logging.getLogger(__name__)


class OptionalKinds:
    """Which of them can be read, as the lists show."""

    def __init__(self) -> None:
        self._readable = asyncio.Queue[str]()
        self._found: set[str] = set()

    def found(self, kind: str) -> None:
        """The kind could be listed."""
        if kind not in self._found:
            logger.debug("watching %s objects from now on", kind)
            self._found.add(kind)
            self._readable.put_nowait(kind)

    async def next(self) -> str:
        """The next kind that can be read, once."""
        return await self._readable.get()

    def includes_unread(self, kinds: Iterable[str]) -> bool:
        """Whether one of the kinds could not be listed so far."""
        return any(kind in OPTIONAL_KINDS and kind not in self._found for kind in kinds)
