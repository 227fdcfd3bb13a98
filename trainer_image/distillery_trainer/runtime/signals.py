"""SIGTERM and SIGINT. By default they raise Terminated where the stage stands; a stage that has something to finish
first says so for as long as that holds.

A process that is a container's first one ignores SIGTERM unless it sets a handler, hence one is always set.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from distillery_api.runtime.stop_signals import on_signals, stop_on_signals
from distillery_trainer.runtime.errors import Terminated


@contextlib.contextmanager
def on_termination(callback: Callable[[], object]) -> Iterator[None]:
    """Inside the block either signal calls `callback`, in the main thread, between two steps of the interpreter."""
    with on_signals(lambda _: callback()):
        yield


@contextlib.contextmanager
def termination_deferred() -> Iterator[None]:
    """Inside the block nothing is raised; a signal that came meanwhile comes again at its end."""
    with stop_on_signals() as stop:
        yield
    if stop.requested:
        signal.raise_signal(signal.SIGTERM)


def raise_terminated() -> None:
    """End the stage here."""
    raise Terminated
