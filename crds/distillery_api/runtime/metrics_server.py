"""A small HTTP server for metrics that no client can exhaust: connections are few, and each one has little time."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - the operator and Prometheus ask from other Pods
MAX_CONNECTIONS = 16
"""When one more arrives, the oldest is closed: a scrape takes milliseconds, so it is that of a slow client."""
MAX_SECONDS = 10.0
"""Time of one connection."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Serves a WSGI application, each connection in a thread of its own."""

    daemon_threads = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._opened: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(*arguments, **options)

    def server_bind(self) -> None:
        """Bind the address; one of IPv6 for IPv4 as well."""
        if self.address_family is socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection."""
        with self._lock:
            if len(self._opened) >= MAX_CONNECTIONS:
                self._end(next(iter(self._opened)))
            self._opened[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._opened.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections whose time is up; called several times a second."""
        oldest = time.monotonic() - MAX_SECONDS
        with self._lock:
            for connection in [each for each, opened in self._opened.items() if opened < oldest]:
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        """Wake the connection's thread, which closes it."""
        del self._opened[connection]
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away, or was ended."""


class _SilentHandler(WSGIRequestHandler):
    timeout = MAX_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Do not log requests."""

    def get_stderr(self) -> io.StringIO:
        """Do not log that a client went away."""
        return io.StringIO()


class _MetricsServerForIPv6(MetricsServer):
    address_family = socket.AF_INET6


def metrics_server(host: str, port: int, application: Callable[..., Any]) -> MetricsServer:
    """A server of a WSGI application at an address; port 0 selects a free one. Raises OSError if it is in use.

    0.0.0.0 stands for all addresses of the machine: those of IPv6 too, unless its kernel knows no IPv6.
    """
    if host == ALL_ADDRESSES and socket.has_dualstack_ipv6():
        host = "::"
    server_class = _MetricsServerForIPv6 if ":" in host else MetricsServer
    return make_server(host, port, application, server_class=server_class, handler_class=_SilentHandler)
