"""A proxy before the API server that sees each request of one client.

It speaks plain HTTP to the client (give `server` to `kubeconfig_for`), and the client's own token to the API server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

NOT_FORWARDED = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}

Listener = Callable[[str, str], None]
"""Is called with the method and the path with query of each request, before it is sent on."""


class ApiProxy:
    """Forwards a port of the loopback interface to an API server; a context manager."""

    def __init__(self, server: str, authority: Path, listener: Listener = lambda *_: None) -> None:
        self._listener, self._target = listener, server
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="API proxy", daemon=True)
        self.server = ""
        self.requests: list[str] = []
        """Method and path with query of every request so far, in order."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls, limit=0))
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.server = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(f"{request.method} {request.path_qs}")
        self._listener(request.method, request.path_qs)
        async with self._sent_on(request, body) as reply:
            return await _forwarded_reply(request, reply)

    def _sent_on(self, request: web.Request, body: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The request as it is, to the API server."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
        url = self._target + request.raw_path
        # No type is taken for JSON by the server, and must not become another one on the way.
        untouched: dict[str, Any] = {"data": body or None, "headers": headers, "skip_auto_headers": {"Content-Type"}}
        return self._session.request(request.method, url, **untouched)


async def _forwarded_reply(request: web.Request, reply: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.content_type})
    with contextlib.suppress(aiohttp.ClientConnectionResetError):  # the client has died
        await response.prepare(request)
        async for chunk in reply.content.iter_any():
            await response.write(chunk)
    return response
