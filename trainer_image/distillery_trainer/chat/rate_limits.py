"""How many requests and tokens a minute one server may be asked for.

All times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

_ROUNDING = 1 + 1e-9
"""So that sums of fractions never allow one unit more."""


class RateLimit:
    """At most `limit` units in any minute: the generic cell rate algorithm (ITU-T I.371, annex A).

    Units are spread over the minute, with at most a second's worth at once. Something larger than that is begun all
    the same, and what follows waits for it.
    """

    _MINUTE = 60.0
    _EARLY = 1.0

    def __init__(self, limit: int) -> None:
        self._seconds_a_unit = (self._MINUTE + self._EARLY) / limit * _ROUNDING
        self._paid_until = float("-inf")

    @property
    def free_at(self) -> float:
        """When the next units may be taken."""
        return self._paid_until - self._EARLY

    def take(self, now: float, units: int) -> None:
        """Take units. More were needed, or fewer, once it is known: take the difference."""
        self._paid_until = max(self._paid_until, now) + units * self._seconds_a_unit
