"""A server that sends exactly the bytes that a test wants: bombs, endless bodies, broken HTTP. It may have TLS.

with raw_server(always(http(200, b"{}"))) as server:
    ask(server.url)
assert server.requests[0].startswith("POST /v1/chat/completions")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from nonstandard_replies import completion


@dataclass
class RawServer:
    """A server on loopback."""

    address: str = ""
    """`http://HOST:PORT`."""
    requests: list[str] = field(default_factory=list)
    """The heads of all requests."""

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{self.address}/v1"


Respond = Callable[[asyncio.StreamWriter, str], Awaitable[object]]
"""Writes a response to the request with this head."""


def http(status: int, body: bytes | None, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole response; without a length, and so until the connection is closed, where the body is None."""
    length = {} if body is None else {"Content-Length": str(len(body))}
    lines = [
        f"HTTP/1.1 {status} Whatever",
        *(f"{name}: {value}" for name, value in {**length, **(headers or {})}.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def whole_reply(content: str = "neutral") -> bytes:
    """An ordinary response."""
    return http(200, json.dumps(completion(content)).encode(), {"Content-Type": "application/json"})


def always(response: bytes) -> Respond:
    """The same response to every request."""

    async def respond(writer: asyncio.StreamWriter, _: str) -> None:
        writer.write(response)

    return respond


def endless(beginning: bytes, piece: bytes, pause: float = 0.0) -> Respond:
    """A response that goes on with the same piece until the client closes the connection."""

    async def respond(writer: asyncio.StreamWriter, _: str) -> None:
        writer.write(beginning)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return respond


@contextlib.contextmanager
def raw_server(respond: Respond, certificate: tuple[str, str] | None = None) -> Iterator[RawServer]:
    """A server in a thread; with TLS where there is a certificate and its key."""
    server, loop, ready = RawServer(), asyncio.new_event_loop(), threading.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                server.requests.append(head)
                lengths = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                await reader.readexactly(sum(int(line.partition(":")[2]) for line in lengths))
                await respond(writer, head)
                await writer.drain()
        writer.close()

    async def listen() -> None:
        context = None
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
        listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        server.address = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        ready.set()

    def run() -> None:
        loop.run_until_complete(listen())
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
