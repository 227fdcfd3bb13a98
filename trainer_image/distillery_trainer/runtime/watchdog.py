"""Ends a stage that hangs: a deadlock, a device or a file system that no longer answers. Nothing outside the process
knows what it does, so it watches itself.

Progress is what the stage reports, and large reads and writes: a model that is being downloaded or loaded is no hang.
"""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from distillery_trainer.runtime.signals import termination_deferred

LAST_WORDS_SECONDS = 60.0
"""For the result of a stage that hangs. It may hang as well: then the process ends without one."""

_IO = Path("/proc/self/io")
_MOVED = 1024 * 1024
"""Bytes between two checks that count as progress; less is logs and metrics."""


class IdleTime:
    """How long nothing has moved. Time in which the whole process was stopped does not count."""

    def __init__(self, activity: Callable[[], int], tick: float, io: Callable[[], int]) -> None:
        self._activity, self._tick, self._io = activity, tick, io
        self._seen, self._bytes = activity(), io()
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Look again after so many seconds."""
        seen, moved = self._activity(), self._io()
        idle = seen == self._seen and moved - self._bytes < _MOVED
        self.seconds = self.seconds + min(seconds, 2 * self._tick) if idle else 0.0
        self._seen, self._bytes = seen, moved


@contextlib.contextmanager
def watched(
    activity: Callable[[], int],
    timeout: float,
    on_hang: Callable[[], object],
    last_words: float = LAST_WORDS_SECONDS,
) -> Iterator[None]:
    """Inside the block, a hang of `timeout` seconds calls `on_hang` in another thread, which ends the process.

    `activity` returns another number whenever there is progress. Where Python itself hangs, the process ends with exit
    code 1 and the stacks of its threads.
    """
    stop = threading.Event()

    def watch() -> None:
        if _hangs(activity, timeout, last_words, stop):
            with contextlib.suppress(OSError, ValueError):  # there may be no standard error
                faulthandler.dump_traceback(all_threads=True)
            on_hang()

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    _exit_after(timeout + last_words)
    try:
        with termination_deferred():  # a thread that is only half started can be neither stopped nor joined
            thread.start()
        yield
    finally:
        stop.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


def _hangs(activity: Callable[[], int], timeout: float, last_words: float, stop: threading.Event) -> bool:
    """Wait until the stage hangs, or has ended: whether it hangs."""
    tick = min(10.0, timeout / 4)
    idle, checked = IdleTime(activity, tick, _bytes_moved), time.monotonic()
    while idle.seconds < timeout:
        _exit_after(timeout - idle.seconds + last_words)
        if stop.wait(tick):
            return False
        now = time.monotonic()
        idle.add(now - checked)
        checked = now
    return True


def _exit_after(seconds: float) -> None:
    """Exit by a timer that needs no Python: a thread that hangs in native code may hold the interpreter's lock."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)  # type: ignore[arg-type]


def _bytes_moved() -> int:
    """Bytes that this process has read and written; 0 where the system does not count them."""
    try:
        lines = _IO.read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split(": ") for line in lines)
    return int(counts.get("rchar", 0)) + int(counts.get("wchar", 0))
