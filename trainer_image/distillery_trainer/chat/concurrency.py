"""How many concurrent requests a server sustains.

All times are seconds of a monotonic clock, given as arguments.
"""

from __future__ import annotations

import math

_FIRST_SIZE = 100
_SHORTEST_ROUND = 10
_BEARABLE = 0.1
"""Share of a round's calls that may fail before there are too many at once."""
_BETTER = 1.05
_STEP = 1.1
_TOO_WIDE = 1.5


class ConcurrencyLimit:
    """How many calls at once: more as long as they bring more replies a second, fewer when calls fail for it.

    A round is as many answers as there are calls at once. The first rounds double the window, later ones add a tenth;
    a round in which clearly more than a tenth of the calls were turned away, timed out or broke shrinks it by their
    share.
    Where half as many calls again as at the fastest round brought nothing, it goes back to what that round had: more
    would only wait in the server's queue.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(min(most, _FIRST_SIZE))
        self._doubling = True
        self._round_began: float | None = None
        self._shrunk = float("-inf")
        self._answers = self._hurt = 0
        self._best_rate, self._best_size = 0.0, self._size

    @property
    def size(self) -> int:
        """Calls at once."""
        return int(self._size)

    def begun(self, now: float) -> None:
        """A call begins."""
        if self._round_began is None:
            self._round_began = now

    def answered(self, began: float, now: float, *, hurt: bool, full: bool) -> None:
        """A call has ended; `hurt` where it failed as it does on a busy server, `full` where no more fitted in."""
        if self._round_began is None or began < self._shrunk:
            return  # it says nothing about the window that there is now
        self._answers += 1
        self._hurt += hurt
        if self._answers >= max(self._size, _SHORTEST_ROUND):
            self._adjust(now, now - self._round_began, full)
            self._round_began, self._answers, self._hurt = now, 0, 0

    def _adjust(self, now: float, seconds: float, full: bool) -> None:
        expected = _BEARABLE * self._answers
        if self._hurt > expected + 2 * math.sqrt(expected):  # more than chance makes of a bearable share
            self._size = max(1.0, self._size * max(0.5, 1 - self._hurt / self._answers))
            self._shrunk, self._doubling, self._best_rate, self._best_size = now, False, 0.0, self._size
        elif full:
            self._compare((self._answers - self._hurt) / max(seconds, 1e-6))
            self._grow()

    def _compare(self, rate: float) -> None:
        if rate > self._best_rate * _BETTER:
            self._best_rate, self._best_size = rate, self._size

    def _grow(self) -> None:
        if self._size >= _TOO_WIDE * self._best_size:
            # The next round measures anew what that size brings: servers change.
            self._size, self._best_rate, self._doubling = self._best_size, 0.0, False
        else:
            self._size = min(self._most, self._size * 2 if self._doubling else self._size * _STEP + 1)
