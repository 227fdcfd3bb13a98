"""Answers liveness probes at /healthz, over IPv4 and IPv6."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Problem = Callable[[], Awaitable[str | None]]
"""What is wrong with this process, or None."""


@asynccontextmanager
async def health_server(port: int, problem: Problem) -> AsyncIterator[int]:
    """Serve /healthz on all addresses while the block runs: 200, or 500 with what is wrong with the watches, as JSON.
    Yields the port; 0 selects a free one. Raises OSError if it is in use."""

    async def answer(_: web.Request) -> web.Response:
        found = await problem()
        return web.json_response({"watching": found or "ok"}, status=500 if found else 200)

    application = web.Application()
    application.router.add_get("/healthz", answer)
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port).start()  # No host: each address of the machine, of both families.
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
