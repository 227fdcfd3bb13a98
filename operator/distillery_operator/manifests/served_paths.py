"""Five paths of vLLM's server and no other. This module runs in vLLM's image, as `--middleware`, not in the operator.

vLLM's API has some twenty paths more: by one of them any client can abort the requests of all others. Standard library
only, since the image has none of ours.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics"})
MAX_BODY_BYTES = 16 * 1024 * 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class ServedPaths:
    """ASGI middleware that passes on requests to PATHS whose length is known and bounded."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection of the protocol ASGI 3."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif refusal := _refusal(scope):
            await _respond(send, *refusal)
        else:
            await self._app(scope, receive, send)


def _refusal(scope: Message) -> tuple[int, str] | None:
    """Status and message for a request that is not passed on."""
    if scope["path"] not in PATHS:
        return 404, "this server has only " + ", ".join(sorted(PATHS))
    if scope["method"] in ("GET", "HEAD"):
        return None
    length = dict(scope["headers"]).get(b"content-length", b"")
    if not length.isdigit():
        return 411, "send the body with a Content-Length"
    if len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
        return 413, f"the body is longer than {MAX_BODY_BYTES:,} bytes; shorten it"
    return None


async def _respond(send: Send, status: int, message: str) -> None:
    """An error in the form of OpenAI's API."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": status}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
