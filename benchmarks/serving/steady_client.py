"""Sends requests at a steady rate, and prints a line of JSON for each: a program for a Pod, standard library only.

    python3 steady_client.py HOST PORT BODY PER_SECOND TIMEOUT_SECONDS [API_KEY_VARIABLE]

Every second request takes a connection that is kept open, as client libraries do, the others a new one. Nothing is
retried. A connection that the server has closed by the time of a request is not used again, and no failure.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import select
import sys
import threading
import time

PATH = "/v1/chat/completions"


class SteadyClient:
    """A client of one server."""

    def __init__(self, host: str, port: int, body: str, timeout: float, key: str | None) -> None:
        self._host, self._port, self._body, self._timeout = host, port, body.encode(), timeout
        self._headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()
        self._printing = threading.Lock()

    def run(self, per_second: float) -> None:
        """Send requests for ever; each in a thread of its own, so that a slow one delays no other."""
        due, number = time.monotonic(), 0
        while True:
            threading.Thread(target=self._request, args=[number % 2 == 1], daemon=True).start()
            due, number = due + 1 / per_second, number + 1
            time.sleep(max(0.0, due - time.monotonic()))

    def _request(self, kept: bool) -> None:
        started, error = time.monotonic(), None
        try:
            self._send(kept)
        except (OSError, http.client.HTTPException) as failure:
            error = f"{type(failure).__name__}: {failure}"
        self._print({"kept": kept, "seconds": round(time.monotonic() - started, 3), "error": error})

    def _send(self, kept: bool) -> None:
        connection = self._connection() if kept else self._new()
        try:
            connection.request("POST", PATH, self._body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if kept and connection.sock is not None:
            self._idle.put(connection)
        else:
            connection.close()
        if response.status != 200:
            raise http.client.HTTPException(f"HTTP {response.status} {content[:200]!r}")

    def _connection(self) -> http.client.HTTPConnection:
        """An idle connection that the server has not closed, or a new one."""
        while True:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                return self._new()
            if not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()

    def _new(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _print(self, line: dict[str, object]) -> None:
        with self._printing:
            print(json.dumps(line), flush=True)


def main() -> None:
    """Run until the process is ended."""
    host, port, body, per_second, timeout, *variable = sys.argv[1:]
    key = os.environ[variable[0]] if variable else None
    SteadyClient(host, int(port), body, float(timeout), key).run(float(per_second))


if __name__ == "__main__":
    main()
