"""The operator's Prometheus metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prometheus_client import generate_latest

from distillery_api.stage import Stage
from distillery_api.status import Condition, ConditionStatus, ConditionType, DistillationStatus, StageStatus
from distillery_operator.controller.metrics import Metrics

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def status(reason: str, **stages: dict[str, Any]) -> DistillationStatus:
    ready = Condition(
        type=ConditionType.READY, status=ConditionStatus.FALSE, reason=reason, message="", last_transition_time=NOW
    )
    records = (StageStatus(name=Stage(name), input_hash="h", **fields) for name, fields in stages.items())
    return DistillationStatus(conditions=(ready,), stages=tuple(records))


def samples(metrics: Metrics, prefix: str) -> list[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return [line for line in lines if line.startswith(prefix)]


def test_distillations_and_stages_are_counted_by_their_state() -> None:
    metrics = Metrics()
    done = {"completion_time": NOW}
    metrics.status_written(("a", "one"), status("Training", generate=done, train={}))
    metrics.status_written(
        ("a", "two"), status("Training", generate=done, train={"reason": "TrainingFailed", "retry_time": NOW})
    )
    metrics.status_written(("b", "one"), status("TeacherRejected", generate={"reason": "TeacherRejected"}))

    assert samples(metrics, "distillery_distillations{") == [
        'distillery_distillations{reason="TeacherRejected"} 1.0',
        'distillery_distillations{reason="Training"} 2.0',
    ]
    assert samples(metrics, "distillery_stages{") == [
        'distillery_stages{stage="generate",state="done"} 2.0',
        'distillery_stages{stage="generate",state="failed"} 1.0',
        'distillery_stages{stage="train",state="backing-off"} 1.0',
        'distillery_stages{stage="train",state="under-way"} 1.0',
    ]


def test_a_distillation_counts_once_and_not_after_it_was_deleted() -> None:
    metrics = Metrics()
    metrics.status_written(("a", "one"), status("Training"))
    metrics.status_written(("a", "one"), status("Serving"))
    assert samples(metrics, "distillery_distillations{") == ['distillery_distillations{reason="Serving"} 1.0']

    metrics.deleted(("a", "one"))
    assert samples(metrics, "distillery_distillations{") == []


def test_a_replica_that_no_longer_leads_forgets_what_it_knew() -> None:
    metrics = Metrics()
    metrics.set_leader(True)
    metrics.status_written(("a", "one"), status("Training"))
    metrics.set_leader(False)

    assert samples(metrics, "distillery_leader") == ["distillery_leader 0.0"]
    assert samples(metrics, "distillery_distillations{") == []


def test_reconciliations_are_counted_by_their_outcome_and_the_queue_by_its_depth() -> None:
    metrics = Metrics()
    metrics.watch_queue_depth(lambda: 7)
    metrics.reconciled("ok", 0.02)
    metrics.reconciled("retry", 1.0)

    assert samples(metrics, "distillery_queue_depth") == ["distillery_queue_depth 7.0"]
    assert samples(metrics, "distillery_reconcile_seconds_count") == [
        'distillery_reconcile_seconds_count{outcome="ok"} 1.0',
        'distillery_reconcile_seconds_count{outcome="retry"} 1.0',
    ]
