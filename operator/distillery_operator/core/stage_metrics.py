"""A running stage's metrics, from the Prometheus text that it serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from distillery_api.stage_result import Progress

DONE_METRIC = "distillery_stage_done"
TOTAL_METRIC = "distillery_stage_total"
REQUESTS_METRIC = "distillery_teacher_requests_total"
REJECTED_METRIC = "distillery_rows_rejected_total"

_LONGEST_UNIT = 32


@dataclass(frozen=True)
class StageMetrics:
    """One reading of a stage's metrics."""

    progress: Progress
    requests: dict[str, int] = field(default_factory=dict)
    """Requests to the teacher by outcome."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Rejected rows by reason."""


def parse_stage_metrics(text: str) -> StageMetrics | None:
    """Prometheus text -> the metrics in it; None where the stage does not say how far it is.

    The text is not trusted: a number may be NaN or infinite. Raises ValueError where it is no Prometheus text.
    """
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    progress = _progress(samples)
    if progress is None:
        return None
    return StageMetrics(
        progress=progress,
        requests=_by_label(_named(samples, REQUESTS_METRIC), "outcome"),
        rejected=_by_label(_named(samples, REJECTED_METRIC), "reason"),
    )


def _progress(samples: Iterable[Sample]) -> Progress | None:
    done = next(iter(_named(samples, DONE_METRIC)), None)
    total = next(iter(_named(samples, TOTAL_METRIC)), None)
    if done is None or not all(isfinite(sample.value) for sample in (done, total) if sample):
        return None
    unit = done.labels.get("unit") or "rows"
    return Progress(done=int(done.value), total=int(total.value) if total else 0, unit=unit[:_LONGEST_UNIT])


def _named(samples: Iterable[Sample], name: str) -> list[Sample]:
    return [sample for sample in samples if sample.name == name]


def _by_label(samples: Iterable[Sample], label: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sample in samples:
        if not isfinite(sample.value):
            continue
        key = sample.labels.get(label, "")
        counts[key] = counts.get(key, 0) + int(sample.value)
    return counts
