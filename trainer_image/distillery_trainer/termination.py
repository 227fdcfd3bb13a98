"""SIGTERM and SIGINT. By default they raise Terminated where the stage stands; a stage that has something to finish
first says so for as long as that holds.

A process that is a container's first one ignores SIGTERM unless it sets a handler, hence one is always set.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from distillery_trainer.errors import Terminated

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


def raise_terminated() -> None:
    """End the stage here."""
    raise Terminated
