"""Reports to one tracker from a thread of their own, so that the stage never waits for it and never fails with it."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable

from distillery_api.formatting import shortened, without_hidden_characters
from distillery_trainer.tracking.requirements import without_credentials

Report = Callable[[], object]
_MOST_WAITING = 1000
"""Reports that may wait for a slow tracker; further ones are left out."""
PATIENCE_SECONDS = 30.0
"""How long a stage that is done waits for a tracker."""
_MESSAGE_BYTES = 300


class BackgroundReports:
    """Calls reports one after the other, in their order. What goes wrong is said once."""

    def __init__(self, tracker: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._tracker, self._patience = tracker, patience_seconds
        self._waiting: queue.Queue[Report | None] = queue.Queue(_MOST_WAITING)
        self._has_failed = False
        self._is_given_up = False
        # A daemon: a report that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=f"tracking-{tracker}", daemon=True)
        self._thread.start()

    def submit(self, report: Report) -> None:
        """Have `report` called soon, or left out if too many others wait."""
        try:
            self._waiting.put_nowait(report)
        except queue.Full:
            self._say("it is too slow, and some figures are left out")

    def close(self) -> None:
        """Wait until all reports are made, and not longer than the patience."""
        if not self._thread.is_alive():
            return
        try:
            self._waiting.put(None, timeout=self._patience)
        except queue.Full:
            self._is_given_up = True
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._is_given_up = True
            self._say(f"it has not taken all figures within {self._patience:g} seconds")

    def _work(self) -> None:
        while (report := self._waiting.get()) is not None and not self._is_given_up:
            try:
                report()
            except Exception as error:  # noqa: BLE001 - whatever it is, the stage has nothing to do with it
                self._say(str(error) or type(error).__name__)

    def _say(self, problem: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            said = shortened(without_hidden_characters(without_credentials(" ".join(problem.split()))), _MESSAGE_BYTES)
            sys.stderr.write(f"{self._tracker}: {said}. The stage goes on; its own files have all figures.\n")
