"""SIGTERM and SIGINT in a stage. By default they raise Terminated; a stage that must finish something first defers
this.

The first process of a container ignores SIGTERM unless it sets a handler, so a handler is always set.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable, Iterator

from distillery_api.runtime.stop_signals import on_signals, stop_on_signals
from distillery_trainer.runtime.errors import Terminated

_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def on_termination(callback: Callable[[], object]) -> Iterator[None]:
    """Inside the block both signals call `callback`, in the main thread, between two instructions."""
    with on_signals(lambda _: callback()):
        yield


@contextlib.contextmanager
def termination_deferred() -> Iterator[None]:
    """Inside the block no signal raises an error; a signal that arrived meanwhile is raised again at its end."""
    with stop_on_signals() as stop:
        yield
    if stop.requested:
        signal.raise_signal(signal.SIGTERM)


def raise_terminated() -> None:
    """Raise Terminated."""
    raise Terminated


def end_with_parent() -> None:
    """Have this process killed with the one that started it: it must not write on, as the folder's lock is gone with
    that one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
