"""A running stage's /metrics and /estimate, and how long it will still take."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from distillery_api.paths import StageFolder
from distillery_api.stage_result import Progress
from distillery_api.usage import Estimate

REQUEST_TIMEOUT_SECONDS = 2.0
WINDOW_SECONDS = 60.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class StageMetrics:
    """One reading. `requests` are teacher calls by outcome, `rejected` rows by reason."""

    progress: Progress
    requests: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)


def read_metrics(folder: StageFolder) -> StageMetrics | None:
    """The metrics of the stage at work in `folder`; None while (or once) nothing answers."""
    return _answer(folder, "/metrics", parse_metrics)


def read_estimate(folder: StageFolder) -> Estimate | None:
    """What the calls of the stage at work in `folder` will come to; None while (or once) nobody says so."""
    return _answer(folder, "/estimate", Estimate.model_validate_json)


def _answer(folder: StageFolder, path: str, parse: Callable[[str], Answer | None]) -> Answer | None:
    try:
        port = int(folder.metrics_port.read_text())
        url = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(url, timeout=REQUEST_TIMEOUT_SECONDS) as response:
            return parse(response.read().decode())
    except (OSError, ValueError):
        return None


def parse_metrics(text: str) -> StageMetrics | None:
    """Prometheus text -> a reading; None where the stage has not said how far it is. Raises ValueError."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    done, total = _named(samples, "distillery_stage_done"), _named(samples, "distillery_stage_total")
    if not done:
        return None
    return StageMetrics(
        progress=Progress(
            done=int(done[0].value),
            total=int(total[0].value) if total else 0,
            unit=done[0].labels.get("unit", "rows"),
        ),
        requests=_by_label(_named(samples, "distillery_teacher_requests_total"), "outcome"),
        rejected=_by_label(_named(samples, "distillery_rows_rejected_total"), "reason"),
    )


def _named(samples: Iterable[Sample], name: str) -> list[Sample]:
    return [sample for sample in samples if sample.name == name]


def _by_label(samples: Iterable[Sample], label: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sample in samples:
        key = sample.labels.get(label, "")
        counts[key] = counts.get(key, 0) + int(sample.value)
    return counts


class EtaEstimator:
    """Estimates the time left from the speed of the last minute, so that a resumed stage does not look too fast."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int, str]] = deque()

    def estimate(self, now: float, progress: Progress) -> Progress:
        """`progress` with its `eta_seconds`, where there is something to tell. `now` is in seconds of any clock."""
        if self._readings and self._readings[-1][2] != progress.unit:
            self._readings.clear()
        self._readings.append((now, progress.done, progress.unit))
        while now - self._readings[0][0] > WINDOW_SECONDS:
            self._readings.popleft()
        started, done_then, _ = self._readings[0]
        gained, elapsed = progress.done - done_then, now - started
        if gained <= 0 or elapsed <= 0 or progress.total < progress.done:
            return progress
        left = (progress.total - progress.done) * elapsed / gained
        return progress.model_copy(update={"eta_seconds": round(left)})
