"""Whether the model answers: asked itself where it is idle, judged by its work where it is busy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

MAX_SILENT_SECONDS = 600.0
"""Requests are answered one by one. Where the model computes no token for longer, the present one never ends."""
PROBE_SECONDS = 20.0
"""How long the model may take for one token."""
TRUSTED_SECONDS = 30.0
"""After an answer, the model is not asked again for so long."""


@dataclass
class ModelHealth:
    """What is known of one model."""

    probe: Callable[[], Awaitable[object]]
    """Asks the model for one token; raises an error if it cannot."""
    clock: Callable[[], float] = time.monotonic
    _in_flight: list[float] = field(default_factory=list)
    _last_answer: float = -math.inf
    _last_token: float = -math.inf

    @property
    def requests_in_flight(self) -> int:
        """Number of requests that are not answered yet."""
        return len(self._in_flight)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """A request to the model, in flight inside the block."""
        started = self.clock()
        self._in_flight.append(started)
        try:
            yield
            self._last_answer = self.clock()
        finally:
            self._in_flight.remove(started)

    def computed_token(self, *_: object) -> None:
        """The model has computed a token; it may call this from any thread, with whatever arguments."""
        self._last_token = self.clock()

    async def answers(self) -> bool:
        """Whether the model answers. A busy one is not asked: its last token tells, so that long replies are no
        fault."""
        if self._in_flight:
            last_sign = max(self._last_answer, self._last_token, min(self._in_flight))
            return self.clock() - last_sign < MAX_SILENT_SECONDS
        if self.clock() - self._last_answer < TRUSTED_SECONDS:
            return True
        try:
            with self.request():
                await asyncio.wait_for(self.probe(), PROBE_SECONDS)
        except Exception:
            logger.exception("the model does not answer")
            return False
        return True
