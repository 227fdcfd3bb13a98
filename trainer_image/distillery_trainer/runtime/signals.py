"""SIGTERM and SIGINT. By default they raise Terminated where the stage stands; a stage that has something to finish
first says so for as long as that holds.

A process that is a container's first one ignores SIGTERM unless it sets a handler, hence one is always set.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from distillery_trainer.runtime.errors import Terminated

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def on_termination(callback: Callable[[], object]) -> Iterator[None]:
    """Inside the block either signal calls `callback`, in the main thread, between two steps of the interpreter."""

    def handle(_: int, __: FrameType | None) -> None:
        callback()

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class StopRequest:
    """Whether the stage was told to stop, for work that cannot be left just anywhere, such as an event loop's.

    `note` is the callback for `on_termination`.
    """

    def __init__(self) -> None:
        self.is_told = False
        self._listener: Callable[[], object] | None = None

    def note(self) -> None:
        """Remember it, and tell whoever listens."""
        self.is_told = True
        if self._listener:
            self._listener()

    @contextlib.contextmanager
    def heard_by(self, listener: Callable[[], object]) -> Iterator[None]:
        """Inside the block the listener is called: at once, where the stage was told to stop before."""
        self._listener = listener
        try:
            if self.is_told:
                listener()
            yield
        finally:
            self._listener = None


@contextlib.contextmanager
def termination_deferred() -> Iterator[None]:
    """Inside the block nothing is raised; a signal that came meanwhile comes again at its end."""
    told = StopRequest()
    with on_termination(told.note):
        yield
    if told.is_told:
        signal.raise_signal(signal.SIGTERM)


def raise_terminated() -> None:
    """End the stage here."""
    raise Terminated
