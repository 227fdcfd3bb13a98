"""Connections that clients keep: none is closed over a request that has arrived but has not been read yet."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from distillery_trainer.serving import connections
from distillery_trainer.serving.connections import TimedConnection

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def application(_: Any, __: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class KeptConnection:
    """A connection that has had one request, with both of its ends in this event loop."""

    def __init__(self) -> None:
        config = uvicorn.Config(application, http=TimedConnection, lifespan="off", log_level="critical")
        config.load()
        self.server = TimedConnection(config=config, server_state=ServerState(), app_state={})
        server_end, self._client_end = socket.socketpair()
        self._server_end = server_end
        self._client_end.setblocking(False)

    async def open(self) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self.server, self._server_end)
        self.send()
        assert await self.reply() == "HTTP/1.1 200 OK"

    def send(self) -> None:
        """Send a request; the server has not read it when this returns."""
        self._client_end.sendall(REQUEST)

    async def reply(self) -> str:
        """The first line of a reply; empty where the server has closed the connection instead."""
        text = b""
        with suppress(ConnectionError):
            while not text.endswith(b"ok"):
                part = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._client_end, 1000), 10)
                if not part:
                    break
                text += part
        return text.split(b"\r\n")[0].decode()


@pytest.fixture
async def kept() -> KeptConnection:
    connection = KeptConnection()
    await connection.open()
    return connection


async def test_a_request_that_arrives_as_its_connection_expires_is_answered(kept: KeptConnection) -> None:
    kept.send()
    kept.server.timeout_keep_alive_handler()
    assert await kept.reply() == "HTTP/1.1 200 OK"


async def test_a_request_that_arrives_as_the_server_stops_is_answered(kept: KeptConnection) -> None:
    kept.send()
    kept.server.shutdown()
    assert await kept.reply() == "HTTP/1.1 200 OK"


async def test_a_request_that_arrives_after_the_longest_wait_is_answered(
    kept: KeptConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_WAITING_SECONDS", 0.01)
    kept.send()
    kept.server._check_again(waited=True)
    assert await kept.reply() == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("ends", ["timeout_keep_alive_handler", "shutdown"])
async def test_one_without_a_request_is_closed(kept: KeptConnection, ends: str) -> None:
    getattr(kept.server, ends)()
    assert await kept.reply() == ""
