"""How many concurrent requests a server sustains.

All times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

import math

_INITIAL_LIMIT = 100
_MIN_ROUND = 10
_ACCEPTABLE_FAILURES = 0.1
"""Share of a round's requests that may fail before the limit is lowered."""
_FASTER = 1.05
_GROWTH = 1.1
_TOO_HIGH = 1.5


class ConcurrencyLimit:
    """The concurrency limit of a server: raised while that brings more replies per second, lowered when requests fail.

    A round is as many responses as the limit. The first rounds double the limit, later ones add a tenth. A round in
    which clearly more than a tenth of the requests were rate-limited, timed out or failed lowers the limit by their
    share. Where a limit half as high again as that of the fastest round brought nothing, it returns to the latter: more
    requests would only wait in the server's queue.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._limit = float(min(maximum, _INITIAL_LIMIT))
        self._doubling = True
        self._round_started: float | None = None
        self._lowered = float("-inf")
        self._responses = self._overloaded = 0
        self._best_rate, self._best_limit = 0.0, self._limit

    @property
    def current(self) -> int:
        """Concurrent requests that the server sustains now."""
        return int(self._limit)

    def started(self, now: float) -> None:
        """A request starts."""
        if self._round_started is None:
            self._round_started = now

    def finished(self, started: float, now: float, *, overloaded: bool, at_limit: bool) -> None:
        """A request has finished; `overloaded` where it failed as it does on an overloaded server, `at_limit` where as
        many were in flight as the limit allows."""
        if self._round_started is None or started < self._lowered:
            return  # it says nothing about the present limit
        self._responses += 1
        self._overloaded += overloaded
        if self._responses >= max(self._limit, _MIN_ROUND):
            self._adjust(now, now - self._round_started, at_limit)
            self._round_started, self._responses, self._overloaded = now, 0, 0

    def _adjust(self, now: float, seconds: float, at_limit: bool) -> None:
        acceptable = _ACCEPTABLE_FAILURES * self._responses
        if self._overloaded > acceptable + 2 * math.sqrt(acceptable):  # more than chance makes of an acceptable share
            self._limit = max(1.0, self._limit * max(0.5, 1 - self._overloaded / self._responses))
            self._lowered, self._doubling, self._best_rate, self._best_limit = now, False, 0.0, self._limit
        elif at_limit:
            self._compare((self._responses - self._overloaded) / max(seconds, 1e-6))
            self._raise()

    def _compare(self, rate: float) -> None:
        if rate > self._best_rate * _FASTER:
            self._best_rate, self._best_limit = rate, self._limit

    def _raise(self) -> None:
        if self._limit >= _TOO_HIGH * self._best_limit:
            # The next round measures this limit anew: servers change.
            self._limit, self._best_rate, self._doubling = self._best_limit, 0.0, False
        else:
            self._limit = min(self._maximum, self._limit * 2 if self._doubling else self._limit * _GROWTH + 1)
