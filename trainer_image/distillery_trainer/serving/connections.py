"""Connections of clients, closed if no request arrives: slow clients cannot use all of them."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_WAITING_SECONDS = 20.0
"""How long a connection may be without a complete request, at least; twice as long at most."""


class TimedConnection(H11Protocol):
    """A connection of uvicorn's, which by itself lets a client take as long as it likes for the first line and the
    headers."""

    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._check_again(waited=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def _check_again(self, *, waited: bool) -> None:
        """Close a connection that was without a request at the last look and still is."""
        waiting = self.cycle is None or self.cycle.response_complete
        if waited and waiting:
            self.transport.close()
            return
        self._check = self.loop.call_later(MAX_WAITING_SECONDS, lambda: self._check_again(waited=waiting))
