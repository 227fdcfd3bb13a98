"""The end of a server without a lost request: clients are told to come back on another connection first.

A client that keeps its connection may send a request in the very moment in which an idle connection is closed, and
would get no reply. So for a while after the stop request each response says `Connection: close`, and connections in use
are closed by their own last response. Only then does the server stop accepting and finish what is in flight.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

import uvicorn

NOTICE_SECONDS = 2.0
"""How long clients are told. One that sends no request meanwhile has an idle connection, which is closed then."""
_CLOSE = (b"connection", b"close")


class DrainingServer(uvicorn.Server):
    """uvicorn's server with a notice before its end. A second stop request ends it without one."""

    _stop_requested: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A stop request: SIGTERM, or Ctrl-C, which is not waited for."""
        if sig == signal.SIGINT or self._stop_requested is not None:
            super().handle_exit(sig, frame)
        else:
            self._captured_signals.append(sig)
            self._stop_requested = time.monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; returns whether the server stops now."""
        stops = await super().on_tick(counter)
        if self._stop_requested is None:
            return stops
        headers = self.server_state.default_headers
        if _CLOSE not in headers:
            self.server_state.default_headers = [*headers, _CLOSE]
        return stops or time.monotonic() - self._stop_requested >= NOTICE_SECONDS
