"""A plan is made again only where something that it follows from has changed."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_api.status import DistillationStatus, StageStatus
from distillery_operator.controller.recent_plans import RecentPlans
from distillery_operator.errors import InvalidDistillation
from simulated_cluster import SETTINGS, distillation


def stored(name: str = "conjnli", generation: int = 1, **metadata: Any) -> dict[str, Any]:
    manifest = distillation().model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"status"})
    manifest["metadata"] |= {"name": name, "uid": f"uid-{name}", "generation": generation, **metadata}
    return manifest


def done_with(revision: str) -> DistillationStatus:
    plan = RecentPlans(SETTINGS).plan(stored(), DistillationStatus())
    record = StageStatus(name=Stage.GENERATE, input_hash=plan.stage(Stage.GENERATE).input_hash, rows_revision=revision)
    return DistillationStatus(stages=(record,))


def test_a_new_status_or_version_needs_no_new_plan() -> None:
    plans = RecentPlans(SETTINGS)
    plan = plans.plan(stored(), DistillationStatus())
    assert plans.plan(stored(resourceVersion="7"), DistillationStatus(progress="1/4 generate")) is plan


@pytest.mark.parametrize(
    "changed",
    [
        stored(generation=2),
        stored(annotations={"distillery.dev/retry-at": "now"}),
        stored(labels={"kueue.x-k8s.io/queue-name": "gpus"}),
        stored(uid="another"),
    ],
)
def test_a_change_of_spec_or_metadata_needs_one(changed: dict[str, Any]) -> None:
    plans = RecentPlans(SETTINGS)
    plan = plans.plan(stored(), DistillationStatus())
    assert plans.plan(changed, DistillationStatus()) is not plan


def test_other_rows_need_one() -> None:
    plans = RecentPlans(SETTINGS)
    first, second = (plans.plan(stored(), done_with(revision)) for revision in ("one", "two"))
    assert (first.rows_revision, second.rows_revision) == ("one", "two")
    assert plans.plan(stored(), done_with("two")) is second


def test_only_the_latest_are_kept() -> None:
    plans = RecentPlans(SETTINGS, most=2)
    first, second = (plans.plan(stored(name), DistillationStatus()) for name in ("a", "b"))
    assert plans.plan(stored("a"), DistillationStatus()) is first
    plans.plan(stored("c"), DistillationStatus())
    assert plans.plan(stored("a"), DistillationStatus()) is first
    assert plans.plan(stored("b"), DistillationStatus()) is not second


def test_an_invalid_spec_is_refused_each_time() -> None:
    plans, invalid = RecentPlans(SETTINGS), stored()
    invalid["spec"]["training"] = {"epochs": 0}
    for _ in range(2):
        with pytest.raises(InvalidDistillation, match="epochs"):
            plans.plan(invalid, DistillationStatus())
