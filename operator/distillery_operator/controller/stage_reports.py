"""Asks running stages how far they are, beside the workers: a stage that does not answer must keep no worker waiting.

A network policy may drop what is sent to a stage, so that each request takes its whole time-out: a stage that has not
answered is asked ever more rarely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from distillery_operator.core.observation import StageReport

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

AskStage = Callable[[str], Awaitable[StageReport]]
"""Asks the stage at a Pod's address for its report; an empty one where it does not answer."""

CONCURRENT = 16
"""Stages that are asked at the same time."""
LONGEST_DOUBLINGS = 5
"""How often the interval doubles while a stage does not answer."""


@dataclass
class _RunningStage:
    """A running stage: when to ask it, and what it has answered since its Distillation was last reconciled."""

    address: str
    due: float
    silences: int = 0
    answer: StageReport | None = None
    request: asyncio.Task[None] | None = None


class StageReports:
    """The reports of running stages. `wake` is called with the key of a Distillation whose stage has answered;
    `interval` is in seconds."""

    def __init__(
        self,
        ask: AskStage,
        interval: float,
        wake: Callable[[Key], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._ask, self._interval, self._wake, self._clock = ask, interval, wake, clock
        self._stages: dict[Key, _RunningStage] = {}
        self._places = asyncio.Semaphore(CONCURRENT)

    def take(self, key: Key, address: str) -> StageReport:
        """What the stage at `address` has answered since the last call; where it is due, it is asked meanwhile."""
        stage = self._stages.get(key)
        if stage is None or stage.address != address:
            self.forget(key)
            stage = self._stages[key] = _RunningStage(address, self._clock())
        if stage.request is None and stage.due <= self._clock():
            stage.request = asyncio.create_task(self._request(key, stage), name=f"report of {'/'.join(key)}")
        answer, stage.answer = stage.answer, None
        return answer or StageReport()

    def due_in(self, key: Key) -> float:
        """Seconds until the stage is to be asked again; it is not while it is being asked."""
        stage = self._stages.get(key)
        if stage is None or stage.request is not None:
            return self._interval
        return max(stage.due - self._clock(), 0.0)

    def forget(self, key: Key) -> None:
        """No stage of the Distillation runs any longer."""
        stage = self._stages.pop(key, None)
        if stage and stage.request:
            stage.request.cancel()

    async def _request(self, key: Key, stage: _RunningStage) -> None:
        try:
            async with self._places:
                answer = await self._ask(stage.address)
        finally:
            stage.request = None
        silent = answer == StageReport()
        stage.silences = stage.silences + 1 if silent else 0
        stage.due = self._clock() + self._interval * 2.0 ** min(stage.silences, LONGEST_DOUBLINGS)
        if not silent:
            stage.answer = answer
            self._wake(key)
