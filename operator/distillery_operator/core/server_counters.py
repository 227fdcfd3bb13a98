"""What a serving Pod has counted since it started, from the Prometheus text that it serves.

Both runtimes count answers under /v1 by their HTTP status, and the seconds of good ones: vLLM's HTTP server and engine,
and the Transformers server.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from distillery_api.status import RequestCounters

_ANSWERS = ("http_requests_total", "distillery_server_requests_total")
_SECONDS = ("vllm:e2e_request_latency_seconds", "distillery_server_request_seconds")
_PATHS = ("handler", "path")
"""Labels that hold the path of a request."""


def total(counters: Iterable[RequestCounters]) -> RequestCounters:
    """The counters of several Pods, added up."""
    each = tuple(counters)
    return RequestCounters(
        requests=sum(one.requests for one in each),
        errors=sum(one.errors for one in each),
        timed=sum(one.timed for one in each),
        seconds=sum(one.seconds for one in each),
    )


class PodCounters:
    """What the Pods of one server have counted, by address: also those that have gone, and what one had counted before
    its container was restarted. So a total of all never falls."""

    def __init__(self) -> None:
        self._latest: dict[str, RequestCounters] = {}
        self._restarted: list[RequestCounters] = []

    def add(self, address: str, now: RequestCounters) -> None:
        """Take what a Pod has counted until now."""
        before = self._latest.get(address)
        if before and _has_fallen(before, now):
            self._restarted = [total((*self._restarted, before))]
        self._latest[address] = now

    def total(self) -> RequestCounters:
        """The counters of all Pods that have ever been read."""
        return total((*self._restarted, *self._latest.values()))


def _has_fallen(before: RequestCounters, now: RequestCounters) -> bool:
    return now.requests < before.requests or now.errors < before.errors or now.timed < before.timed


def parse_server_counters(text: str) -> RequestCounters | None:
    """Prometheus text -> the counters in it; None where it is no text of a serving Pod.

    The text is not trusted: a number may be NaN or infinite. Raises ValueError where it is no Prometheus text.
    """
    lines = (line for line in text.splitlines() if line.startswith((*_ANSWERS, *_SECONDS)))
    samples = [
        each
        for family in text_string_to_metric_families("\n".join(lines) + "\n")
        for each in family.samples
        if isfinite(each.value) and _is_of_users(each)
    ]
    if not any(line.startswith(("# HELP vllm:", "# HELP distillery_server_")) for line in text.splitlines()):
        return None
    answers = [each for each in samples if each.name in _ANSWERS]
    return RequestCounters(
        requests=round(_sum(answers)),
        errors=round(_sum(each for each in answers if each.labels.get("status", "").startswith("5"))),
        timed=round(_sum(each for each in samples if each.name in [f"{name}_count" for name in _SECONDS])),
        seconds=_sum(each for each in samples if each.name in [f"{name}_sum" for name in _SECONDS]),
    )


def _is_of_users(sample: Sample) -> bool:
    """Whether a sample is about requests under /v1, or about the engine behind them: neither probes nor metrics."""
    path = next((sample.labels[label] for label in _PATHS if label in sample.labels), None)
    return path is None or path.startswith("/v1/")


def _sum(samples: Iterable[Sample]) -> float:
    return sum(each.value for each in samples)
