"""The key that every request to /v1 needs. What only operators of a cluster ask, /health and /metrics, stays open."""

from __future__ import annotations

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_MESSAGE = "this server needs its API key; send the header Authorization: Bearer KEY"


def with_key(application: ASGIApp, key: str | None) -> ASGIApp:
    """The application behind its key; without one, as it is."""
    return application if key is None else KeyCheck(application, key)


class KeyCheck:
    """ASGI middleware that answers 401 to a request without the key, before it reads the body."""

    def __init__(self, application: ASGIApp, key: str) -> None:
        self._application, self._key = application, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection of the protocol ASGI 3."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1") or self._has_key(scope):
            await self._application(scope, receive, send)
        else:
            await _refusal()(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").strip().partition(b" ")
        # The time that this takes says nothing about the key.
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._key)


def _refusal() -> JSONResponse:
    error = {"message": _MESSAGE, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    return JSONResponse({"error": error}, 401, {"WWW-Authenticate": "Bearer"})
