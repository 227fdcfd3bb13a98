"""The servers of one model, each with its own limits and pauses: which one gets the next request, and when."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distillery_api.spec.teacher import Limits, Server
from distillery_trainer.chat.concurrency import ConcurrencyLimit
from distillery_trainer.chat.endpoint import Endpoint
from distillery_trainer.chat.error_responses import CallError
from distillery_trainer.chat.rate_limits import RateLimit, ServerPause
from distillery_trainer.chat.response_headers import Allowance

_FIRST_BACK_OFF = 0.5
"""Seconds that other servers are preferred to one that failed; doubled with each further failure in a row."""
_FAILURES_OF_A_SERVER = 5
"""In a row; those of rate limits do not count."""
_MAX_BACK_OFF = 60.0
_NEVER = float("inf")


class PooledServer:
    """One server: its requests in flight, and when it takes the next one. Times are the event loop's."""

    def __init__(self, address: Server, endpoint: Endpoint, limits: Limits, max_concurrent_requests: int) -> None:
        self.address, self.endpoint = address, endpoint
        self.concurrency = ConcurrencyLimit(max_concurrent_requests)
        self.in_flight = 0
        self.closed_by: CallError | None = None
        """Why the server rejects all requests; None for one that does not."""
        self._requests = RateLimit(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = RateLimit(limits.tokens_per_minute) if limits.tokens_per_minute else None
        self.pause = ServerPause()
        self._backs_off_until = -_NEVER
        self._failures_in_a_row = 0

    @property
    def fails_all_requests(self) -> bool:
        """Whether so many requests failed without a reply between them that it is not about single ones."""
        return self._failures_in_a_row >= _FAILURES_OF_A_SERVER

    @property
    def is_open(self) -> bool:
        """Whether it takes requests at all."""
        return self.closed_by is None

    def is_backing_off(self, now: float) -> bool:
        """Whether it failed a moment ago, so that other servers are preferred."""
        return now < self._backs_off_until

    def ready_at(self) -> float:
        """When the next request may start; never, while as many are in flight as the server sustains."""
        if not self.is_open or self.in_flight >= self.concurrency.current:
            return _NEVER
        limits = [limit.free_at for limit in (self._requests, self._tokens) if limit]
        return max(self.pause.until, *limits) if limits else self.pause.until

    def ready_after_back_off(self) -> float:
        """When the next request may start while other servers are preferred."""
        return max(self.ready_at(), self._backs_off_until)

    def load(self) -> float:
        """Requests in flight as a share of the concurrency limit."""
        return self.in_flight / self.concurrency.current

    def start(self, now: float, tokens: int) -> None:
        """Note the start of a request that is expected to use this many tokens."""
        self.in_flight += 1
        self.concurrency.started(now)
        if self._requests:
            self._requests.take(now, 1)
        if self._tokens:
            self._tokens.take(now, tokens)

    def succeeded(self, started: float, now: float, unused_tokens: int = 0) -> None:
        """A request got a reply, and used fewer tokens than expected by this many."""
        self.pause.replied()
        self._failures_in_a_row = 0
        self._backs_off_until = -_NEVER
        at_limit = self.in_flight >= self.concurrency.current
        self.concurrency.finished(started, now, overloaded=False, at_limit=at_limit)
        if self._tokens:
            self._tokens.take(now, -unused_tokens)

    def failed(self, error: CallError, started: float, now: float) -> None:
        """A request had a transient failure."""
        self.concurrency.finished(started, now, overloaded=True, at_limit=False)
        if error.is_rate_limited:
            self.pause.rate_limited(error.retry_after, now, self.concurrency.current)
            return
        self._failures_in_a_row += 1
        doublings = min(self._failures_in_a_row - 1, 16)
        self._backs_off_until = now + min(_MAX_BACK_OFF, _FIRST_BACK_OFF * 2.0**doublings)

    def note_allowances(self, allowances: Mapping[str, Allowance], now: float) -> None:
        """The server said what it still allows the API key."""
        self.pause.note_allowances(allowances.values(), now)


@dataclass(slots=True)
class _Waiter:
    future: asyncio.Future[PooledServer | None]
    tokens: int


class ServerPool:
    """Assigns requests to servers, first come, first served, at most `max_concurrent_requests` in all."""

    def __init__(self, servers: Sequence[PooledServer], max_concurrent_requests: int) -> None:
        self.servers = list(servers)
        self._max_concurrent_requests = max_concurrent_requests
        self._in_flight = 0
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def concurrency_limit(self) -> int:
        """Concurrent requests that the servers sustain now."""
        sustained = sum(server.concurrency.current for server in self.servers if server.is_open)
        return min(self._max_concurrent_requests, sustained)

    async def acquire(self, tokens: int) -> PooledServer | None:
        """A server for a request that is expected to use this many tokens, once one is ready; None once the pool is
        closed."""
        if self._is_closed:
            return None
        if not self._waiting and (server := self._start(tokens)):
            return server
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tokens)
        self._waiting.append(waiter)
        self._serve()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def release(self, server: PooledServer) -> None:
        """A request has finished."""
        server.in_flight -= 1
        self._in_flight -= 1
        self._serve()

    def close(self) -> None:
        """Stop all waiting, and assign nothing any more."""
        self._is_closed = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
        if self._timer:
            self._timer.cancel()

    def has_alternative(self, server: PooledServer) -> bool:
        """Whether another server can be asked now."""
        now = self._now()
        return any(
            other.is_open and not other.is_backing_off(now) and not other.pause.is_on(now)
            for other in self.servers
            if other is not server
        )

    # --- assigning

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _start(self, tokens: int) -> PooledServer | None:
        """Start a request on the ready server with the lowest load; None where none is ready."""
        if self._in_flight >= self._max_concurrent_requests:
            return None
        now = self._now()
        ready = [server for server in self._preferred(now) if server.ready_at() <= now]
        if not ready:
            return None
        server = min(ready, key=PooledServer.load)
        server.start(now, tokens)
        self._in_flight += 1
        return server

    def _preferred(self, now: float) -> list[PooledServer]:
        """The servers that do not back off, or all where every one does."""
        if len(self.servers) == 1:
            return self.servers
        return [server for server in self.servers if server.is_open and not server.is_backing_off(now)] or self.servers

    def _serve(self) -> None:
        """Assign waiting requests to servers, and schedule the next time at which a server becomes ready."""
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.future.done():
                server = self._start(waiter.tokens)
                if server is None:
                    break
                waiter.future.set_result(server)
            self._waiting.popleft()
        self._schedule()

    def _schedule(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._waiting and self._in_flight < self._max_concurrent_requests:
            preferred = self._preferred(self._now())
            ready_at = min(
                server.ready_at() if server in preferred else server.ready_after_back_off() for server in self.servers
            )
            if ready_at < _NEVER:
                self._timer = asyncio.get_running_loop().call_at(ready_at, self._serve)

    def _abandon(self, waiter: _Waiter) -> None:
        """A waiting request was cancelled, and may have been assigned a server in the same moment."""
        if waiter.future.done() and not waiter.future.cancelled() and (server := waiter.future.result()):
            self.release(server)
