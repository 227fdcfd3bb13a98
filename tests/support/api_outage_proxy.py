"""A proxy before the API server that makes it unreachable for one client, while all others still reach it."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

ADDRESS = "127.0.0.1"
BLOCK = 1 << 16


class ApiOutageProxy:
    """Forwards a port of the loopback interface to the API server's; a context manager.

    Give `server` to `kubeconfig_for(..., server=proxy.server)`. While cut, connections break and new ones are refused
    after the handshake, as when a network path or a load balancer fails.
    """

    def __init__(self, port: int) -> None:
        self._target = (ADDRESS, port)
        self._listener = socket.create_server((ADDRESS, 0))
        self._is_cut = threading.Event()
        self._open: set[socket.socket] = set()
        self._mutex = threading.Lock()
        self.server = f"https://{ADDRESS}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="API outage proxy", daemon=True).start()

    def __enter__(self) -> ApiOutageProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Break all connections and take no new ones."""
        self._is_cut.set()
        with self._mutex:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Take connections again."""
        self._is_cut.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut.is_set():
                client.close()
            else:
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._mutex:
            self._open |= {client, server}
        back = threading.Thread(target=self._copy, args=[server, client], daemon=True)
        back.start()
        self._copy(client, server)
        back.join()
        with self._mutex:
            self._open -= {client, server}
        client.close()
        server.close()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        """Copy until one side ends, then end the other."""
        with contextlib.suppress(OSError):
            while block := source.recv(BLOCK):
                target.sendall(block)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
