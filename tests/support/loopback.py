"""A test's HTTP server on the loopback interface."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def loopback_server(handler: type[BaseHTTPRequestHandler], **shared: object) -> ThreadingHTTPServer:
    """A server on a free port, whose handlers have what is shared as attributes."""
    return ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), shared))


@contextlib.contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[str]:
    """Let a server answer for the length of a block. Gives its HOST:PORT."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
