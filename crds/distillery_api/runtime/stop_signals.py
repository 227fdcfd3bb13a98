"""SIGTERM, Ctrl-C and a closed terminal as a request that is acted on at the next safe moment, instead of an exception
anywhere."""

from __future__ import annotations

import contextlib
import queue
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""How Kubernetes and Ctrl-C ask a process to stop."""

TERMINAL_STOP_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP)
"""How a program in a terminal is asked to stop: closing the terminal counts as well."""

SAME_REQUEST_SECONDS = 1.0
"""Signals within this time count as one: a process may get one from the terminal and one forwarded by its parent."""


class StopRequest:
    """Whether, and how often, this process was asked to stop. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.signal: int | None = None
        """The signal of the first request."""
        self.requests = 0
        """The number of requests; signals within SAME_REQUEST_SECONDS count as one."""
        # Unlike the locks of threading, this queue may be used in a signal handler that interrupts `wait`.
        self._noted: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._last: float | None = None
        self._listener: Callable[[], object] | None = None

    @property
    def requested(self) -> bool:
        """Whether this process has to stop."""
        return self.requests > 0

    def note(self, number: int) -> None:
        """Note the signal `number`, and call the listener."""
        before, self._last = self._last, self._clock()
        if before is not None and self._last - before < SAME_REQUEST_SECONDS:
            return
        self.signal = self.signal or number
        self.requests += 1
        self._noted.put(number)
        if self._listener:
            self._listener()

    def wait(self, seconds: float) -> bool:
        """Sleep until a stop is requested, at most `seconds`. Returns whether it is."""
        if not self.requested:
            with contextlib.suppress(queue.Empty):
                self._noted.get(timeout=seconds)
        return self.requested

    @contextlib.contextmanager
    def notifying(self, listener: Callable[[], object]) -> Iterator[None]:
        """Inside the block each request calls the listener; one that came before calls it at once."""
        self._listener = listener
        try:
            if self.requested:
                listener()
            yield
        finally:
            self._listener = None


@contextlib.contextmanager
def stop_on_signals(signals: Iterable[int] = STOP_SIGNALS) -> Iterator[StopRequest]:
    """Inside the block the signals raise nothing and are noted in the request."""
    stop = StopRequest()
    with on_signals(stop.note, signals):
        yield stop


@contextlib.contextmanager
def on_signals(callback: Callable[[int], object], signals: Iterable[int] = STOP_SIGNALS) -> Iterator[None]:
    """Inside the block each of the signals calls `callback` with its number, in the main thread, between two steps of
    the interpreter."""

    def handle(number: int, _: FrameType | None) -> None:
        callback(number)

    previous = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
