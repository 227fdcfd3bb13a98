"""The servers of one model, each with its own pace: which one gets the next call, and when."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from distillery_api.spec.teacher import Limits
from distillery_trainer.chat.concurrency import ConcurrencyLimit
from distillery_trainer.chat.endpoint import Endpoint
from distillery_trainer.chat.error_responses import Allowance, CallError
from distillery_trainer.chat.rate_limits import RateLimit

_TURNED_AWAY = 5
"""Calls turned away one after the other, none answered between them, after which a server is left alone for as long as
it asks. One among answers holds up its own row only, unless it asks for LONG_PAUSE."""
LONG_PAUSE = 5.0
"""Seconds."""
_FIRST_REST = 0.5
_LONGEST_REST = 60.0
_LONGEST_RESET = 60.0
"""Seconds. Where an allowance is used up for longer, a call has to ask, and Retry-After then says for how long."""
_NEVER = float("inf")


class PooledServer:
    """One server: what is under way there, and until when it is left alone. Times are the loop's."""

    def __init__(self, endpoint: Endpoint, limits: Limits, calls_at_once: int) -> None:
        self.endpoint = endpoint
        self.window = ConcurrencyLimit(calls_at_once)
        self.in_flight = 0
        self.refusal: CallError | None = None
        """Why the server turns everybody away; None for one that does not."""
        self._requests = RateLimit(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = RateLimit(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self._paused_until = -_NEVER
        self.rests_until = -_NEVER
        """Until when others are asked first."""
        self._turned_away = self._failures = 0

    @property
    def is_open(self) -> bool:
        """Whether it takes calls at all."""
        return self.refusal is None

    def rests(self, now: float) -> bool:
        """Whether it failed a moment ago, so that others are better asked first."""
        return now < self.rests_until

    def is_paused(self, now: float) -> bool:
        """Whether it asked to be left alone."""
        return now < self._paused_until

    def ready_at(self) -> float:
        """When the next call may begin; never, while there is no room."""
        if not self.is_open or self.in_flight >= self.window.size:
            return _NEVER
        rates = [rate.free_at for rate in (self._requests, self._tokens) if rate]
        return max(self._paused_until, *rates) if rates else self._paused_until

    def ready_after_rest(self) -> float:
        """When the next call may begin that others would get before."""
        return max(self.ready_at(), self.rests_until)

    def load(self) -> float:
        """Share of its places that are taken."""
        return self.in_flight / self.window.size

    def begin(self, now: float, tokens: int) -> None:
        """A call that may cost so many tokens begins."""
        self.in_flight += 1
        self.window.begun(now)
        if self._requests:
            self._requests.take(now, 1)
        if self._tokens:
            self._tokens.take(now, tokens)

    def answered(self, began: float, now: float, spare_tokens: int = 0) -> None:
        """A call got a reply, and needed so many tokens less than it might have."""
        self._turned_away = self._failures = 0
        self.rests_until = -_NEVER
        self.window.answered(began, now, hurt=False, full=self.in_flight >= self.window.size)
        if self._tokens:
            self._tokens.take(now, -spare_tokens)

    def failed(self, error: CallError, began: float, now: float) -> None:
        """A call failed in a way that may pass."""
        self.window.answered(began, now, hurt=True, full=False)
        if error.says_slow_down:
            self._turned_away += 1
            pause = error.retry_after or _FIRST_REST
            if pause > LONG_PAUSE or self._turned_away >= min(_TURNED_AWAY, self.window.size):
                self._paused_until = max(self._paused_until, now + pause)
            return
        self._failures += 1
        self.rests_until = now + min(_LONGEST_REST, _FIRST_REST * 2.0 ** min(self._failures - 1, 16))

    def allow(self, allowed: dict[str, Allowance], now: float) -> None:
        """Wait where the server says that the key's allowance is used up."""
        for allowance in allowed.values():
            if allowance.remaining == 0:
                pause = min(allowance.reset_seconds, _LONGEST_RESET)
                self._paused_until = max(self._paused_until, now + pause)


@dataclass(slots=True)
class _Waiter:
    future: asyncio.Future[PooledServer | None]
    tokens: int


class ServerPool:
    """Gives out the servers' free places, first come, first served, at most `calls_at_once` in all."""

    def __init__(self, lanes: Sequence[PooledServer], calls_at_once: int) -> None:
        self.lanes = list(lanes)
        self._calls_at_once = calls_at_once
        self._in_flight = 0
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_ended = False

    @property
    def size(self) -> int:
        """Calls at once that the servers bear now."""
        return min(self._calls_at_once, sum(lane.window.size for lane in self.lanes if lane.is_open))

    async def take(self, tokens: int) -> PooledServer | None:
        """A server for a call of so many tokens, once there is one that may be asked; None where the pool is ended."""
        if self._is_ended:
            return None
        if not self._waiting and (lane := self._free(tokens)):
            return lane
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tokens)
        self._waiting.append(waiter)
        self._serve()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._leave(waiter)
            raise

    def give_back(self, lane: PooledServer) -> None:
        """A call is over."""
        lane.in_flight -= 1
        self._in_flight -= 1
        self._serve()

    def end(self) -> None:
        """Let everybody go who waits, and give out nothing any more."""
        self._is_ended = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
        if self._timer:
            self._timer.cancel()

    def others(self, lane: PooledServer) -> bool:
        """Whether there is another server that can be asked now."""
        now = self._now()
        return any(
            other.is_open and not other.rests(now) and not other.is_paused(now)
            for other in self.lanes
            if other is not lane
        )

    # --- giving out

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _free(self, tokens: int) -> PooledServer | None:
        if self._in_flight >= self._calls_at_once:
            return None
        now = self._now()
        ready = [lane for lane in self._wanted(now) if lane.ready_at() <= now]
        if not ready:
            return None
        lane = min(ready, key=PooledServer.load)
        lane.begin(now, tokens)
        self._in_flight += 1
        return lane

    def _wanted(self, now: float) -> list[PooledServer]:
        """The servers that come into question: those that do not rest, else all."""
        if len(self.lanes) == 1:
            return self.lanes
        return [lane for lane in self.lanes if lane.is_open and not lane.rests(now)] or self.lanes

    def _serve(self) -> None:
        """Give free places to those who wait, and come back when the next one becomes free by itself."""
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.future.done():
                lane = self._free(waiter.tokens)
                if lane is None:
                    break
                waiter.future.set_result(lane)
            self._waiting.popleft()
        self._wait_for_time()

    def _wait_for_time(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._waiting and self._in_flight < self._calls_at_once:
            wanted = self._wanted(self._now())
            moment = min(lane.ready_at() if lane in wanted else lane.ready_after_rest() for lane in self.lanes)
            if moment < _NEVER:
                self._timer = asyncio.get_running_loop().call_at(moment, self._serve)

    def _leave(self, waiter: _Waiter) -> None:
        """Somebody waits no longer, and may have been given a place in the same moment."""
        if waiter.future.done() and not waiter.future.cancelled() and (lane := waiter.future.result()):
            self.give_back(lane)
