"""What is worth an Event: the turns that a status takes, not each time it is written.

An Event is a courtesy to whoever runs `kubectl describe`; nothing depends on one, and a lost one is not made up for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.resource import API_VERSION, KIND
from distillery_api.status import Condition, ConditionStatus, ConditionType, DistillationStatus

NOTE_LIMIT = 1024
"""Characters; the API server refuses a longer note."""

REPORTER = "distillery.dev/operator"

_REPORTED = (
    ConditionType.DATA_GENERATED,
    ConditionType.TRAINED,
    ConditionType.EVALUATED,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.SUSPENDED,
    ConditionType.READY,
)
_ONCE = (ConditionType.DATA_GENERATED, ConditionType.TRAINED, ConditionType.EVALUATED, ConditionType.READY)
"""Conditions that are told when they become true, whatever their reason; the others also with every new reason."""

_NORMAL_REASONS = frozenset(
    {Reason.QUEUED, Reason.GENERATING_DATA, Reason.TRAINING, Reason.EVALUATING, Reason.ROLLING_OUT, Reason.SUSPENDED}
)


@dataclass(frozen=True)
class StatusChange:
    """One turn."""

    reason: str
    note: str
    warning: bool = False


def status_changes(before: DistillationStatus, after: DistillationStatus) -> tuple[StatusChange, ...]:
    """The turns from one status to the next, in the order in which they are told."""
    old = {condition.type: condition for condition in before.conditions}
    new = {condition.type: condition for condition in after.conditions}
    turned = (new[kind] for kind in _REPORTED if kind in new and _is_change(old.get(kind), new[kind]))
    return tuple(_change(condition) for condition in turned)


def event_manifest(
    transition: StatusChange, regarding: dict[str, Any], *, name: str, time: str, reporting_instance: str
) -> dict[str, Any]:
    """The Event (events.k8s.io/v1) for a transition of the Distillation with the metadata `regarding`.

    `time` is RFC 3339 in UTC with microseconds.
    """
    subject = {key: regarding[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": regarding["namespace"]},
        "eventTime": time,
        "reportingController": REPORTER,
        "reportingInstance": reporting_instance,
        "action": "Reconcile",
        "type": "Warning" if transition.warning else "Normal",
        "reason": transition.reason,
        "note": cut(transition.note),
        "regarding": {"apiVersion": API_VERSION, "kind": KIND, **subject},
    }


def cut(note: str) -> str:
    """The note within the limit."""
    return note if len(note) <= NOTE_LIMIT else note[: NOTE_LIMIT - 1] + "…"


def _is_change(old: Condition | None, new: Condition) -> bool:
    if new.status is not ConditionStatus.TRUE:
        return False
    became_true = old is None or old.status is not ConditionStatus.TRUE
    return became_true or (new.type not in _ONCE and old is not None and old.reason != new.reason)


def _change(condition: Condition) -> StatusChange:
    if condition.type in _ONCE[:3]:
        return StatusChange(str(condition.type), condition.message)
    explains = condition.type in (ConditionType.RECONCILING, ConditionType.STALLED)
    warning = explains and condition.reason not in _NORMAL_REASONS
    return StatusChange(condition.reason, condition.message, warning)
