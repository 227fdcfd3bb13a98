"""A client of a Service that asks without a pause, as users do while servers come and go."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from types import TracebackType

import requests

PER_SECOND = 20
TIMEOUT_SECONDS = 30


class SteadyRequests(threading.Thread):
    """Sends 20 requests a second to the ready Pods of a Service in turn, for the length of a block.

    `hosts` is the process node's hosts file, which names those Pods as kube-proxy would choose them.
    """

    def __init__(
        self, hosts: Path, host: str, port: int, body: dict[str, object], headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._headers = headers
        self._hosts, self._host, self._port, self._body = hosts, host, port, body
        self._stopped = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self.servers: set[str] = set()

    def __enter__(self) -> SteadyRequests:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Ask until the block ends; each request in a thread of its own, so that a slow one delays no other."""
        threads: list[threading.Thread] = []
        due = time.monotonic()
        for number in itertools.count():
            if self._stopped.is_set():
                break
            threads.append(threading.Thread(target=self._ask, args=[number], daemon=True))
            threads[-1].start()
            due += 1 / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
        for thread in threads:
            thread.join()

    def _ask(self, number: int) -> None:
        addresses = self._ready()
        try:
            address = addresses[number % len(addresses)]
            url = f"http://{address}:{self._port}/v1/chat/completions"
            requests.post(url, json=self._body, headers=self._headers, timeout=TIMEOUT_SECONDS).raise_for_status()
        except (requests.RequestException, ZeroDivisionError) as error:
            self.failures.append(f"request {number}: {error!r}")
            return
        self.answered += 1
        self.servers.add(address)

    def _ready(self) -> list[str]:
        lines = (line.split() for line in self._hosts.read_text().splitlines())
        return sorted(line[0] for line in lines if self._host in line[1:])
