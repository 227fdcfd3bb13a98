"""Serves `/metrics`, `/estimate` and `/healthz` of a stage: its progress, usage and expected cost. The operator, the
command line and Prometheus read them; the stage does not depend on being read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import make_wsgi_app

from distillery_api.run_config import RunConfig
from distillery_api.runtime.metrics_server import metrics_server
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress, StageResult
from distillery_api.usage import Estimate
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.runtime.signals import termination_deferred

_TRAINING_METRICS = {
    "epoch": ("epoch", "Passes over the train rows that are done."),
    "loss": ("loss", "Mean loss on train rows since it was last said, in nats per token."),
    "learningRate": ("learning_rate", "Learning rate of the last step."),
    "gradientNorm": ("gradient_norm", "Norm of the gradients of the last step."),
    "validationLoss": ("validation_loss", "Mean loss on validation rows, in nats per token."),
    "validationScore": ("validation_score", "Score of the student in training on validation rows."),
}
"""Name in the training log -> metric and its description."""


class StepProgress(Protocol):
    """What a training reports to."""

    def alive(self) -> None:
        """Something was done, although no further step is."""

    def update(self, done: int, total: int, unit: str = ...) -> None:
        """So many steps of so many are done."""

    def training_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Say what was measured after a step, by its name in the training log."""


class TrainingObserver:
    """What is told how a training goes; this one does nothing with it."""

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """So much was measured after a step, by its name in the training log."""

    def trial_begins(self, trial: RunConfig) -> None:
        """The figures that follow are those of a trial of a search."""

    def trial_ended(self, result: StageResult) -> None:
        """A trial has ended with this result."""


class ProgressReporter:
    """The metrics of one stage. Cheap enough to be called for every row, and from any thread."""

    def __init__(self, stage: Stage) -> None:
        self.registry = CollectorRegistry()
        self._stage = stage.value
        self._done = self._gauge("distillery_stage_done", "Units done.", "stage", "unit")
        self._total = self._gauge("distillery_stage_total", "Total units; 0 while unknown.", "stage", "unit")
        self._requests = self._counter("distillery_teacher_requests", "Requests to the teacher.", "outcome")
        self._tokens = self._counter(
            "distillery_teacher_tokens", "Tokens of the teacher's prompts and replies.", "direction"
        )
        self._cost = self._counter("distillery_teacher_cost", "Cost of the teacher's replies.", "currency")
        self._concurrency_limit = self._gauge(
            "distillery_teacher_calls_at_once", "Concurrent requests that the teacher sustains."
        )
        self._rejected = self._counter("distillery_rows_rejected", "Rows rejected.", "split", "reason")
        self._expected_tokens = self._gauge(
            "distillery_estimated_tokens", "Tokens that all requests are expected to use.", "direction"
        )
        self._expected_cost = self._gauge("distillery_estimated_cost", "Expected cost of all requests.", "currency")
        self._training = {
            name: self._gauge(f"distillery_training_{metric}", description, "stage")
            for name, (metric, description) in _TRAINING_METRICS.items()
        }
        self._children: dict[tuple[Counter, str], Counter] = {}
        self._unit: str | None = None
        self.observer = TrainingObserver()
        """What is told of a training as it goes on."""
        self.progress: Progress | None = None
        """How far the stage is; None until it says so."""
        self.activity = 0
        """Another number whenever something was done."""
        self.estimate: Estimate | None = None
        """Expected usage and cost of the teacher's requests, once known."""

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(name, description, labels, registry=self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, registry=self.registry)

    def alive(self) -> None:
        """Report that something was done, although no further unit is."""
        self.activity += 1

    def update(self, done: int, total: int, unit: str = "rows") -> None:
        """Report that `done` of `total` units (0: unknown) are done. A new unit replaces the last one."""
        progress = Progress(done=done, total=total, unit=unit)
        if progress != self.progress:
            self.progress = progress
            self.alive()
        if unit != self._unit:
            self._done.clear()
            self._total.clear()
            self._unit = unit
        self._done.labels(self._stage, unit).set(done)
        self._total.labels(self._stage, unit).set(total)

    def teacher_request(self, outcome: str) -> None:
        """Count a request to the teacher; `outcome` is "ok" or the reason of its failure."""
        self._child(self._requests, outcome).inc()
        self.alive()

    def teacher_tokens(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> None:
        """Count the tokens of a reply; `cached_tokens` are the input tokens that the server read from its cache."""
        self._child(self._tokens, "input").inc(input_tokens)
        self._child(self._tokens, "output").inc(output_tokens)
        if cached_tokens:
            self._child(self._tokens, "cached_input").inc(cached_tokens)

    def teacher_cost(self, cost: float, currency: str) -> None:
        """Count the cost of a reply."""
        self._child(self._cost, currency).inc(cost)

    def concurrency_limit(self, requests: int) -> None:
        """Report how many concurrent requests the teacher sustains now."""
        self._concurrency_limit.set(requests)

    def _child(self, counter: Counter, label: str) -> Counter:
        """The child of a counter, cached: the library's lookup by label takes several times longer than counting."""
        child = self._children.get((counter, label))
        if child is None:
            child = self._children[counter, label] = counter.labels(label)
        return child

    def estimated(self, estimate: Estimate) -> None:
        """Report the expected usage and cost of the teacher's requests."""
        self.estimate = estimate
        self._expected_tokens.labels("input").set(estimate.input_tokens)
        self._expected_tokens.labels("output").set(estimate.output_tokens)
        if estimate.cost is not None and estimate.currency:
            self._expected_cost.labels(estimate.currency).set(estimate.cost)

    def training_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Report what was measured after a step, by its name in the training log."""
        self.observer.figures(step, figures)
        for name, value in figures.items():
            self._training[name].labels(self._stage).set(value)

    def row_rejected(self, split: str, reason: str) -> None:
        """Count a rejected row."""
        self._rejected.labels(split, reason).inc()


@contextlib.contextmanager
def progress_server(reporter: ProgressReporter, host: str, port: int, port_file: Path) -> Iterator[int]:
    """Serve the reporter's metrics inside the block; yields the port.

    With port 0, a free port is used and written to `port_file`. Raises OSError if the port is in use.
    """
    with metrics_server(host, port, _application(reporter)) as server:
        if port == 0:
            write_atomically(port_file, str(server.server_port).encode())
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="metrics", daemon=True)
        try:
            with termination_deferred():  # a thread that is only half started can be neither stopped nor joined
                thread.start()
            yield server.server_port
        finally:
            if thread.is_alive():
                server.shutdown()
                thread.join()


def _application(reporter: ProgressReporter) -> Callable[..., Any]:
    metrics = make_wsgi_app(reporter.registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        if environ["PATH_INFO"] == "/estimate" and reporter.estimate is not None:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [reporter.estimate.model_dump_json(by_alias=True, exclude_none=True).encode()]
        healthy = environ["PATH_INFO"] == "/healthz"
        start_response("200 OK" if healthy else "404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"ok\n" if healthy else b"Try /metrics, /estimate or /healthz.\n"]

    return application
