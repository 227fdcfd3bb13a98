"""The node's own HTTPS port, where the API server fetches what `kubectl logs` shows."""

from __future__ import annotations

import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from certificates import Certificates

PORT = 10250
POLL_SECONDS = 0.1

LogFiles = Callable[[str, str, str], list[Path]]
IsRunning = Callable[[str, str], bool]


class LogServer(ThreadingHTTPServer):
    """Serves `/containerLogs/NAMESPACE/POD/CONTAINER`.

    `files(namespace, pod, container)` names the output of each run, the latest last; `is_running(namespace, pod)`
    says whether following it still makes sense.
    """

    daemon_threads = True

    def __init__(self, address: str, certificates: Certificates, files: LogFiles, is_running: IsRunning) -> None:
        super().__init__((address, PORT), LogRequest)
        self.files, self.is_running = files, is_running
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server_certificate, certificates.server_key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def start(self) -> None:
        """Serve from now on in a thread of its own."""
        threading.Thread(target=self.serve_forever, name="log server", daemon=True).start()


class LogRequest(BaseHTTPRequestHandler):
    """One request for one container's output."""

    def do_GET(self) -> None:
        """Answer with the output of the latest run, or of the one before."""
        url = urllib.parse.urlsplit(self.path)
        options = dict(urllib.parse.parse_qsl(url.query))
        parts = url.path.strip("/").split("/")
        files = self._files(parts, previous=options.get("previous") == "true")
        if not files:
            self.send_error(404, "no such container has started")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(_tail(files[-1], options.get("tailLines")))
        if options.get("follow") == "true":
            for more in self._growth(files[-1], parts[1], parts[2]):
                self.wfile.write(more)
                self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _files(self, parts: list[str], previous: bool) -> list[Path]:
        if len(parts) != 4 or parts[0] != "containerLogs":
            return []
        files = cast("LogServer", self.server).files(*parts[1:])
        return files[:-1] if previous else files

    def _growth(self, file: Path, namespace: str, pod: str) -> Iterator[bytes]:
        """What is added to the file, until the pod has ended."""
        position = file.stat().st_size
        runs = True
        while runs:
            time.sleep(POLL_SECONDS)
            runs = cast("LogServer", self.server).is_running(namespace, pod)
            with file.open("rb") as log:
                log.seek(position)
                more = log.read()
            position += len(more)
            yield more


def _tail(file: Path, lines: str | None) -> bytes:
    content = file.read_bytes()
    if lines is None:
        return content
    return b"".join(content.splitlines(keepends=True)[-int(lines) :] if int(lines) else [])
