"""Startup, readiness and liveness probes."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable

from process_node.kube_api import Object

EAGER_SECONDS = 0.25


class Probe(threading.Thread):
    """One probe of a running container; `report(healthy)` is called when its verdict changes.

    Until the first success it looks more often than its period says, so that tests do not wait for a period to pass;
    failures still count once a period.
    """

    def __init__(
        self, spec: Object, check: Callable[[], bool], report: Callable[[bool], None], stop: threading.Event
    ) -> None:
        super().__init__(name="probe", daemon=True)
        self._period = float(spec.get("periodSeconds", 10))
        self._delay = float(spec.get("initialDelaySeconds", 0))
        self._thresholds = {True: int(spec.get("successThreshold", 1)), False: int(spec.get("failureThreshold", 3))}
        self._check, self._report, self._over = check, report, stop
        self._verdict: bool | None = None
        self._in_a_row = 0
        self._last_result: bool | None = None

    def run(self) -> None:
        """Look again and again until the container has ended."""
        self._over.wait(self._delay)
        while not self._over.is_set():
            self._count(self._succeeds())

    def _succeeds(self) -> bool:
        """One result: a success at once, a failure only after the rest of its period."""
        waited = 0.0
        while not self._check():
            eager = self._verdict is not True
            pause = EAGER_SECONDS if eager else self._period
            if self._over.wait(pause):
                return False
            waited += pause
            if waited >= self._period:
                return False
        if self._verdict is True or self._thresholds[True] > 1:
            self._over.wait(self._period)
        return True

    def _count(self, result: bool) -> None:
        self._in_a_row = self._in_a_row + 1 if result == self._last_result else 1
        self._last_result = result
        if self._over.is_set() or self._in_a_row < self._thresholds[result]:
            return
        if result != self._verdict or not result:
            self._verdict = result
            self._report(result)


def make_check(
    spec: Object, container: Object, pod_address: str, execute: Callable[[list[str], float], bool]
) -> Callable[[], bool]:
    """What a probe's specification asks for as a function; `execute` runs a command in the container."""
    timeout = float(spec.get("timeoutSeconds", 1))
    if "exec" in spec:
        return lambda: execute(spec["exec"]["command"], timeout)
    if "tcpSocket" in spec:
        host = spec["tcpSocket"].get("host") or pod_address
        return lambda: _accepts(host, _port(spec["tcpSocket"]["port"], container), timeout)
    if "httpGet" in spec:
        return lambda: _answers(spec["httpGet"], container, pod_address, timeout)
    raise ValueError(f"the process node knows no probe like {sorted(spec)}")


def _accepts(host: str, port: int, timeout: float) -> bool:
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return False
    return True


def _answers(request: Object, container: Object, pod_address: str, timeout: float) -> bool:
    """Whether the answer's code is from 200 to 399."""
    host, port = request.get("host") or pod_address, _port(request["port"], container)
    headers = {entry["name"]: entry["value"] for entry in request.get("httpHeaders", [])}
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    if request.get("scheme") == "HTTPS":
        connection = http.client.HTTPSConnection(
            host,
            port,
            timeout=timeout,
            context=ssl._create_unverified_context(),
        )
    try:
        connection.request("GET", request.get("path") or "/", headers={"User-Agent": "kube-probe/1.37", **headers})
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _port(port: int | str, container: Object) -> int:
    if isinstance(port, int):
        return port
    named: int = next(entry["containerPort"] for entry in container.get("ports", []) if entry["name"] == port)
    return named
