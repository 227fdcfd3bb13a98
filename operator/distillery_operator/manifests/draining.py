"""The end of a vLLM server without a lost request: clients are told to come back on another connection first.

vLLM refuses what arrives after its stop request, also on connections that clients keep. So the Pod sets a mark before,
and as long as it stands, each response says `Connection: close`. Connections that nobody uses meanwhile are closed with
the stop request. This module runs in vLLM's image, as `--middleware`, not in the operator, with the standard library
only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

MARK = Path(tempfile.gettempdir(), "draining")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def drain_command(seconds: int) -> tuple[str, ...]:
    """Sets the mark, and waits until clients and proxies have noticed."""
    return ("sh", "-c", f'touch "${{TMPDIR:-/tmp}}/{MARK.name}"; sleep {seconds}')


class ClosingConnections:
    """ASGI middleware that lets no connection be kept while the mark stands."""

    def __init__(self, app: Application) -> None:
        self._app = app
        # Left where a server that hung was started again in its Pod.
        MARK.unlink(missing_ok=True)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection of the protocol ASGI 3."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and _stops():
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing)


def _stops() -> bool:
    return MARK.exists()
