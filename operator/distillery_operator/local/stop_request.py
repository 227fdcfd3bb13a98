"""Ctrl-C and SIGTERM as a request that the run acts on at its next look, instead of an exception anywhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SAME_REQUEST_SECONDS = 1.0
"""A signal to a whole group may arrive twice: from the terminal, and passed on by a parent."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Counts the requests to stop: the first is passed on gently, a second one at once."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self.signal: int | None = None
        self.requests = 0
        self._last: float | None = None

    def request(self, number: int) -> None:
        """Asks the run to end because of signal `number`."""
        before, self._last = self._last, time.monotonic()
        if before is not None and self._last - before < SAME_REQUEST_SECONDS:
            return
        self.signal = self.signal or number
        self.requests += 1
        self._requested.set()

    @property
    def requested(self) -> bool:
        """Whether the run is to end."""
        return self._requested.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleeps, but not past a request. Whether there is one."""
        return self._requested.wait(seconds)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A Stop that Ctrl-C, SIGTERM and a closed terminal set while the context lasts."""
    stop = StopRequest()

    def remember(number: int, frame: FrameType | None) -> None:
        stop.request(number)

    before = {number: signal.signal(number, remember) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
