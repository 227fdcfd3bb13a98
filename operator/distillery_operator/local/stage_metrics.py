"""Reads a running stage's /metrics and /estimate, and estimates the time left from the readings of the last minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from distillery_api.paths import StageFolder
from distillery_api.stage_result import Progress
from distillery_api.usage import Estimate
from distillery_operator.core.eta import remaining_seconds
from distillery_operator.core.stage_metrics import StageMetrics, parse_stage_metrics
from distillery_operator.local.loopback import read_url

REQUEST_TIMEOUT_SECONDS = 2.0
RESPONSE_LIMIT = 256 * 1024
"""Bytes."""
WINDOW_SECONDS = 60.0
MEASURED_SECONDS = 5.0
"""How long the speed is measured before it is told."""

Parsed = TypeVar("Parsed")


def read_metrics(folder: StageFolder) -> StageMetrics | None:
    """The metrics of the stage that runs in `folder`; None if it does not respond."""
    return _response(folder, "/metrics", parse_stage_metrics)


def read_estimate(folder: StageFolder) -> Estimate | None:
    """The estimate of the stage that runs in `folder`; None if it has none yet, or does not respond."""
    return _response(folder, "/estimate", Estimate.model_validate_json)


def _response(folder: StageFolder, path: str, parse: Callable[[str], Parsed | None]) -> Parsed | None:
    try:
        port = int(folder.metrics_port.read_text())
        url = f"http://127.0.0.1:{port}{path}"
        return parse(read_url(url, REQUEST_TIMEOUT_SECONDS, RESPONSE_LIMIT).decode())
    except (OSError, ValueError):
        return None


class EtaEstimator:
    """Estimates the time left from the speed of the last minute, so that a resumed stage does not look too fast.

    What passes before the first unit is done (a model is loaded, the first rows are asked alone) says nothing about the
    others: the speed is measured from there on.
    """

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int, str]] = deque()
        self._has_moved = False

    def estimate(self, now: float, progress: Progress) -> Progress:
        """`progress` with its `eta_seconds`, where the speed is known. `now` is in seconds of any clock."""
        if self._readings and self._readings[-1][2] != progress.unit:
            self._readings.clear()
            self._has_moved = False
        if self._readings and not self._has_moved and progress.done > self._readings[0][1]:
            self._has_moved = True
            if len(self._readings) > 1:
                self._readings.clear()
        self._readings.append((now, progress.done, progress.unit))
        while now - self._readings[0][0] > WINDOW_SECONDS:
            self._readings.popleft()
        started, done_before, _ = self._readings[0]
        if now - started < MEASURED_SECONDS:
            return progress
        remaining = remaining_seconds(progress, done_before, now - started)
        return progress if remaining is None else progress.model_copy(update={"eta_seconds": round(remaining)})
