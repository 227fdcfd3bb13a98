"""Connections of clients: closed if no request arrives, so that slow clients cannot use all of them, and never over a
request that has just arrived."""

from __future__ import annotations

import asyncio
import select

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_WAITING_SECONDS = 20.0
"""How long a connection may be without a complete request, at least; twice as long at most."""


class TimedConnection(H11Protocol):
    """A connection of uvicorn's, which by itself lets a client take as long as it likes for the first line and the
    headers, and closes an idle one also where a request waits to be read: the client would get a reset."""

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

    def timeout_keep_alive_handler(self) -> None:
        """The connection was idle for a while."""
        if not self._has_unread_bytes():
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """The server stops. What has arrived is answered, and that closes the connection (`DrainingServer`)."""
        if not (self._is_idle() and self._has_unread_bytes()):
            super().shutdown()

    def _check_again(self, *, waited: bool) -> None:
        """Close a connection that was without a request at the last look and still is."""
        waiting = self._is_idle()
        if waited and waiting and not self._has_unread_bytes():
            self.transport.close()
            return
        self._check = self.loop.call_later(MAX_WAITING_SECONDS, lambda: self._check_again(waited=waiting))

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _has_unread_bytes(self) -> bool:
        """Whether the event loop, which may have been busy, is about to read something, or the client's end."""
        if self.transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))
