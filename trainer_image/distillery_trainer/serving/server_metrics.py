"""Metrics of the server for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class ServerMetrics:
    """Counts of requests and their durations."""

    def __init__(self, in_flight: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "distillery_server_requests", "Requests to the student.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "distillery_server_request_seconds",
            "Duration of answered requests; of streams, until the first token may be sent.",
            ["path"],
            registry=self._registry,
        )
        gauge = Gauge("distillery_server_requests_in_flight", "Requests in flight.", registry=self._registry)
        gauge.set_function(in_flight)

    def answered(self, path: str, status: int, started: float) -> None:
        """Count a request that began at `started`, a time of `time.monotonic`."""
        self._requests.labels(path, str(status)).inc()
        if status == 200:
            self._seconds.labels(path).observe(time.monotonic() - started)

    def text(self) -> bytes:
        """All metrics in Prometheus' format."""
        return generate_latest(self._registry)
