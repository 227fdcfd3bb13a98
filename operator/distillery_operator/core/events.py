"""Kubernetes Events: which changes of the status are worth one, and what it says.

Events are for people who run `kubectl describe`. Nothing depends on one, and a lost one is not posted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.resource import API_VERSION, KIND
from distillery_api.status import Canary, Condition, ConditionStatus, ConditionType, DistillationStatus
from distillery_operator.planning.retry_rejected import annotation_problem

NOTE_LIMIT = 1024
"""Characters; the API server refuses a longer note."""

REPORTER = "distillery.dev/operator"

_REPORTED = (
    ConditionType.DATA_GENERATED,
    ConditionType.TRAINED,
    ConditionType.EVALUATED,
    ConditionType.VERIFIED,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.SUSPENDED,
    ConditionType.READY,
)
_STAGES_DONE = (
    ConditionType.DATA_GENERATED,
    ConditionType.TRAINED,
    ConditionType.EVALUATED,
    ConditionType.PUBLISHED,
    ConditionType.VERIFIED,
)
_ONCE_TRUE = (*_STAGES_DONE, ConditionType.READY)
"""Conditions that get an Event only when they become true; the others also get one for each new reason."""

_NORMAL_REASONS = frozenset(
    {
        Reason.QUEUED,
        Reason.GENERATING_DATA,
        Reason.TRAINING,
        Reason.EVALUATING,
        Reason.ROLLING_OUT,
        Reason.PUBLISHING,
        Reason.VERIFYING,
        Reason.SUSPENDED,
        Reason.AWAITING_PROMOTION,
    }
)


@dataclass(frozen=True)
class StatusChange:
    """A change that is worth an Event."""

    reason: str
    note: str
    warning: bool = False


def status_changes(before: DistillationStatus, after: DistillationStatus) -> tuple[StatusChange, ...]:
    """The changes from one status to the next that are worth an Event, in the order of the Events."""
    old = {condition.type: condition for condition in before.conditions}
    new = {condition.type: condition for condition in after.conditions}
    changed = [new[kind] for kind in _REPORTED if kind in new and _is_change(old.get(kind), new[kind])]
    ended = [_change(condition) for condition in changed if condition.type in _STAGES_DONE]
    others = [_change(condition) for condition in changed if condition.type not in _STAGES_DONE]
    step, misspelt = _step_change(before, after), _misspelt_annotation(before, after)
    is_new = step and step.note not in [each.note for each in others]
    return (*joined(ended, others), *([step] if step and is_new else []), *([misspelt] if misspelt else []))


def _misspelt_annotation(before: DistillationStatus, after: DistillationStatus) -> StatusChange | None:
    """An annotation that asks for nothing, once."""
    value = after.last_handled_retry_rejected
    problem = annotation_problem(value) if value != before.last_handled_retry_rejected else None
    return StatusChange(Reason.INVALID_SPEC, f"{problem[0].upper()}{problem[1:]}.", warning=True) if problem else None


def _step_change(before: DistillationStatus, after: DistillationStatus) -> StatusChange | None:
    """A step of a canary, once the candidate has its share, and that it takes over."""
    old, new = (status.serving.canary if status.serving else None for status in (before, after))
    if new is None or not (new.since or new.percent == 100) or _step(old) == _step(new):
        return None
    return StatusChange(Reason.ROLLING_OUT, new.message)


def _step(canary: Canary | None) -> object:
    return canary and (canary.server, canary.percent, canary.since is None)


def event_manifest(
    change: StatusChange, regarding: dict[str, Any], *, name: str, time: str, reporting_instance: str
) -> dict[str, Any]:
    """The Event (events.k8s.io/v1) for a change of the Distillation with the metadata `regarding`.

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
        "type": "Warning" if change.warning else "Normal",
        "reason": change.reason,
        "note": cut(change.note),
        "regarding": {"apiVersion": API_VERSION, "kind": KIND, **subject},
    }


def cut(note: str) -> str:
    """The note within the limit."""
    return note if len(note) <= NOTE_LIMIT else note[: NOTE_LIMIT - 1] + "…"


def _is_change(old: Condition | None, new: Condition) -> bool:
    if new.status is not ConditionStatus.TRUE:
        return False
    became_true = old is None or old.status is not ConditionStatus.TRUE
    return became_true or (new.type not in _ONCE_TRUE and old is not None and old.reason != new.reason)


def joined(ended: Sequence[StatusChange], others: Sequence[StatusChange]) -> tuple[StatusChange, ...]:
    """The end of a stage and what begins with it as one change, which saves a request; but a warning stands alone."""
    note = "; ".join(change.note.removesuffix(".") for change in (*ended, *others[:1]))
    if not ended or not others or others[0].warning or len(note) > NOTE_LIMIT:
        return (*ended, *others)
    return (StatusChange(others[0].reason, note), *others[1:])


def _change(condition: Condition) -> StatusChange:
    if condition.type in _STAGES_DONE:
        return StatusChange(str(condition.type), condition.message)
    may_warn = condition.type in (ConditionType.RECONCILING, ConditionType.STALLED)
    warning = may_warn and condition.reason not in _NORMAL_REASONS
    return StatusChange(condition.reason, condition.message, warning)
