"""When a failed stage is tried again, and when a person is called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class RetrySettings:
    """How patient the operator is."""

    first_delay: timedelta = timedelta(seconds=10)
    longest_delay: timedelta = timedelta(minutes=5)
    deadline: timedelta = timedelta(hours=1)
    """How long attempts may fail in a row before a person is called."""
    blocked_deadline: timedelta = timedelta(minutes=10)
    """How long a Pod may be kept from starting before a person is called."""

    def delay(self, attempts: int) -> timedelta:
        """The pause after that many attempts; it doubles from attempt to attempt."""
        doublings = min(attempts - 1, 20)
        return min(self.first_delay * float(2**doublings), self.longest_delay)
