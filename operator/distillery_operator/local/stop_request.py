"""Turns Ctrl-C and SIGTERM into a request that the run acts on at a safe moment, instead of an exception anywhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SAME_REQUEST_SECONDS = 1.0
"""Signals within this time count as one: a process may get one from the terminal and one forwarded by its parent."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Counts the requests to stop: after the first, the stage saves its work; after the second, it is killed."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self.signal: int | None = None
        self.requests = 0
        self._last: float | None = None

    def request(self, number: int) -> None:
        """Requests that the run stops, because of signal `number`."""
        before, self._last = self._last, time.monotonic()
        if before is not None and self._last - before < SAME_REQUEST_SECONDS:
            return
        self.signal = self.signal or number
        self.requests += 1
        self._requested.set()

    @property
    def requested(self) -> bool:
        """Whether the run has to stop."""
        return self._requested.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleeps until a stop is requested, at most `seconds`. Returns whether it is."""
        return self._requested.wait(seconds)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A stop request that Ctrl-C, SIGTERM and a closed terminal make, while the context lasts."""
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.request(number)

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
