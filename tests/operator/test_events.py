"""Which changes of a status become Events."""

from __future__ import annotations

from datetime import UTC, datetime

from distillery_api.status import Condition, ConditionStatus, ConditionType, DistillationStatus
from distillery_operator.core.events import StatusChange, cut, event_manifest, joined, status_changes

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def status(**conditions: str) -> DistillationStatus:
    """A status with conditions written as Type="True/Reason"."""
    made = []
    for kind, state in conditions.items():
        truth, reason = state.split("/")
        made.append(
            Condition(
                type=ConditionType(kind),
                status=ConditionStatus(truth),
                reason=reason,
                message=f"about {kind}",
                last_transition_time=NOW,
            )
        )
    return DistillationStatus(conditions=tuple(made))


def events(before: DistillationStatus, after: DistillationStatus) -> list[tuple[str, bool]]:
    """Reasons, and whether they are warnings."""
    return [(change.reason, change.warning) for change in status_changes(before, after)]


def test_the_first_status_has_an_event() -> None:
    assert events(status(), status(Ready="False/Training", Reconciling="True/Training")) == [("Training", False)]


def test_an_equal_status_has_none() -> None:
    same = status(Reconciling="True/Training", DataGenerated="True/Succeeded")
    assert events(same, same) == []


def test_a_finished_stage_has_one_event_named_after_its_condition() -> None:
    before, after = status(Trained="False/Training"), status(Trained="True/Succeeded")
    assert status_changes(before, after) == (StatusChange("Trained", "about Trained"),)
    assert events(after, status(Trained="True/Other")) == []


def test_a_new_reason_has_an_event_and_a_problem_is_a_warning() -> None:
    before = status(Reconciling="True/Training")
    assert events(before, status(Reconciling="True/ImagePullError")) == [("ImagePullError", True)]
    assert events(before, status(Reconciling="True/ProgressingWithRetry")) == [("ProgressingWithRetry", True)]


def test_what_stalls_is_a_warning() -> None:
    before = status(Ready="False/Training", Reconciling="True/Training")
    assert events(before, status(Ready="False/StorageFull", Stalled="True/StorageFull")) == [("StorageFull", True)]


def test_being_ready_is_reported_after_the_stages() -> None:
    before = status(Ready="False/Evaluating", Evaluated="False/Evaluating")
    after = status(Ready="True/Serving", Evaluated="True/Succeeded")
    assert status_changes(before, after) == (StatusChange("Serving", "about Evaluated; about Ready"),)


def test_a_stage_that_ends_and_the_next_one_that_starts_are_one_event() -> None:
    before = status(Reconciling="True/GeneratingData", DataGenerated="False/GeneratingData")
    after = status(Reconciling="True/Training", DataGenerated="True/Succeeded")
    assert status_changes(before, after) == (StatusChange("Training", "about DataGenerated; about Reconciling"),)


def test_an_event_about_two_changes_is_one_sentence() -> None:
    ended, began = StatusChange("DataGenerated", "Kept 4 rows."), StatusChange("Training", "train: it runs.")
    assert joined([ended], [began]) == (StatusChange("Training", "Kept 4 rows; train: it runs"),)


def test_a_warning_stands_apart_from_the_stage_that_ended() -> None:
    before = status(Reconciling="True/Evaluating", Evaluated="False/Evaluating")
    after = status(Stalled="True/QualityGateFailed", Evaluated="True/Succeeded")
    assert events(before, after) == [("Evaluated", False), ("QualityGateFailed", True)]


def test_what_does_not_fit_into_one_note_is_two_events() -> None:
    before, after = status(), status(Reconciling="True/Training", DataGenerated="True/Succeeded")
    ended, begun = (each.model_copy(update={"message": "a" * 600}) for each in after.conditions)
    assert events(before, DistillationStatus(conditions=(ended, begun))) == [
        ("DataGenerated", False),
        ("Training", False),
    ]


def test_an_event_names_its_object_and_its_reporter() -> None:
    metadata = {"namespace": "team-a", "name": "small", "uid": "u1", "resourceVersion": "8", "labels": {}}
    made = event_manifest(
        StatusChange("Training", "it learns"),
        metadata,
        name="small.1f",
        time="2026-11-25T00:00:00.000000Z",
        reporting_instance="operator-1",
    )
    assert made == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "small.1f", "namespace": "team-a"},
        "eventTime": "2026-11-25T00:00:00.000000Z",
        "reportingController": "distillery.dev/operator",
        "reportingInstance": "operator-1",
        "action": "Reconcile",
        "type": "Normal",
        "reason": "Training",
        "note": "it learns",
        "regarding": {
            "apiVersion": "distillery.dev/v1alpha1",
            "kind": "Distillation",
            "namespace": "team-a",
            "name": "small",
            "uid": "u1",
            "resourceVersion": "8",
        },
    }


def test_a_note_is_cut_to_what_the_server_accepts() -> None:
    assert cut("a" * 1024) == "a" * 1024
    assert cut("a" * 1025) == "a" * 1023 + "…"
