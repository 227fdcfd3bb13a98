"""Rate limits of one server: how many requests and tokens per minute it may be sent, and how long it is not asked after
an answer of HTTP 429. `retries.py` has the pause of the single request.

All times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable

from distillery_trainer.chat.response_headers import Allowance

PATIENCE_SECONDS = 3600.0
"""How long a request waits for its turn at most, whatever makes it wait: the one patience of a stage."""
LONG_PAUSE = 5.0
"""Seconds. A Retry-After beyond this pauses the server, not only the request that got it."""
_RATE_LIMITED_IN_A_ROW = 5
"""Rate-limited requests without a reply between them that pause the server, whatever they ask for. A single one among
replies delays its own row only."""
_DEFAULT_PAUSE = 0.5
"""Seconds, where a server answers 429 without Retry-After."""
_MAX_ALLOWANCE_PAUSE = 60.0
"""Seconds. Where an allowance is exhausted for longer, the next request finds out how long, from Retry-After."""
_ROUNDING = 1 + 1e-9
"""So that sums of fractions never allow one unit more."""


class RateLimit:
    """At most `limit` units in any minute: the generic cell rate algorithm (ITU-T I.371, annex A).

    Units are spread over the minute, with at most a second's worth at once. A request of more units than that is
    allowed all the same, and the following ones wait for it.
    """

    _MINUTE = 60.0
    _BURST_SECONDS = 1.0

    def __init__(self, limit: int) -> None:
        self._seconds_per_unit = (self._MINUTE + self._BURST_SECONDS) / limit * _ROUNDING
        self._paid_until = float("-inf")

    @property
    def free_at(self) -> float:
        """When the next units may be taken."""
        return self._paid_until - self._BURST_SECONDS

    def take(self, now: float, units: int) -> None:
        """Take units. Once the real number is known, take the difference, which may be negative."""
        self._paid_until = max(self._paid_until, now) + units * self._seconds_per_unit


class ServerPause:
    """Until when a server is not asked because it answered HTTP 429, or said that the key's allowance is exhausted."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self._rate_limited_in_a_row = 0

    def is_on(self, now: float) -> bool:
        """Whether the server is not to be asked now."""
        return now < self.until

    def replied(self) -> None:
        """The server replied, so it does not reject all requests."""
        self._rate_limited_in_a_row = 0

    def rate_limited(self, retry_after: float | None, now: float, concurrency: int) -> None:
        """The server answered 429; it sustains `concurrency` concurrent requests."""
        self._rate_limited_in_a_row += 1
        seconds = retry_after or _DEFAULT_PAUSE
        if seconds > LONG_PAUSE or self._rate_limited_in_a_row >= min(_RATE_LIMITED_IN_A_ROW, concurrency):
            self._extend(now + min(seconds, PATIENCE_SECONDS))

    def note_allowances(self, allowances: Iterable[Allowance], now: float) -> None:
        """Pause where the server says that an allowance of the API key is exhausted."""
        for allowance in allowances:
            if allowance.remaining == 0:
                self._extend(now + min(allowance.reset_seconds, _MAX_ALLOWANCE_PAUSE))

    def _extend(self, until: float) -> None:
        self.until = max(self.until, until)
