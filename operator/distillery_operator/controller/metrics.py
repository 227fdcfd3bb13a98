"""The operator's Prometheus metrics: how long reconciliations take, and the states of all Distillations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from distillery_api.runtime.metrics_server import ALL_ADDRESSES, metrics_server
from distillery_api.status import ConditionType, DistillationStatus, StageStatus

Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class Figures:
    """What is counted of one Distillation."""

    reason: str
    stages: tuple[tuple[str, str], ...]


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._figures: dict[Key, Figures] = {}
        self._reconcile = Histogram(
            "distillery_reconcile_seconds",
            "Duration of one reconciliation of a Distillation, by outcome.",
            ["outcome"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self._leader = Gauge("distillery_leader", "1 while this replica is the leader.", registry=self.registry)
        self._queued = Gauge("distillery_queue_depth", "Distillations waiting for a worker.", registry=self.registry)
        self._forbidden = Gauge(
            "distillery_namespace_forbidden",
            "1 where the operator may not watch a namespace (empty: all namespaces).",
            ["namespace"],
            registry=self.registry,
        )
        self.registry.register(_Resources(self._figures))

    def reconciled(self, outcome: str, seconds: float) -> None:
        """Count a reconciliation that ended as `outcome`: ok, retry or error."""
        self._reconcile.labels(outcome).observe(seconds)

    def set_leader(self, leading: bool) -> None:
        """Note whether this replica leads; one that does not forgets what it knew of the Distillations."""
        self._leader.set(leading)
        if not leading:
            self._figures.clear()

    def set_forbidden(self, namespace: str, forbidden: bool) -> None:
        """Note whether the operator lacks the rights to watch a namespace; empty stands for all."""
        self._forbidden.labels(namespace).set(forbidden)

    def watch_queue_depth(self, depth: Callable[[], int]) -> None:
        """Set the function that returns the depth of the queue."""
        self._queued.set_function(depth)

    def status_written(self, key: Key, status: DistillationStatus) -> None:
        """Take over the current status of a Distillation."""
        ready = (condition.reason for condition in status.conditions if condition.type is ConditionType.READY)
        stages = tuple((str(stage.name), _state(stage)) for stage in status.stages)
        self._figures[key] = Figures(next(ready, "Unknown"), stages)

    def deleted(self, key: Key) -> None:
        """Forget a deleted Distillation."""
        self._figures.pop(key, None)

    def serve(self, port: int) -> None:
        """Serve /metrics on `port`, from a thread of its own."""
        server = metrics_server(ALL_ADDRESSES, port, make_wsgi_app(self.registry))
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Resources(Collector):
    """Counts of Distillations and stages, computed on each scrape, so that they are never out of date."""

    def __init__(self, figures: dict[Key, Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """The two metric families."""
        figures = list(self._figures.values())
        distillations = _family("distillery_distillations", "Distillations by the reason of their Ready condition.")
        for reason in sorted({each.reason for each in figures}):
            count = sum(each.reason == reason for each in figures)
            distillations.add_sample("distillery_distillations", {"reason": reason}, count)
        yield distillations
        stages = _family("distillery_stages", "Stages by state.")
        states = [state for each in figures for state in each.stages]
        for stage, state in sorted(set(states)):
            stages.add_sample("distillery_stages", {"stage": stage, "state": state}, states.count((stage, state)))
        yield stages


def _family(name: str, documentation: str) -> Metric:
    return Metric(name, documentation, "gauge")


def _state(stage: StageStatus) -> str:
    if stage.completion_time:
        return "done"
    if stage.reason:
        return "backing-off" if stage.retry_time else "failed"
    return "under-way"
