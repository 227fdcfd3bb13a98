"""A claim that the user names is read now and then, because no watch reports it."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient

from distillery_api.status import DistillationStatus
from distillery_operator.cluster.client import Cluster
from distillery_operator.controller import known_children
from distillery_operator.controller.known_children import KnownChildren
from distillery_operator.core.situation import plan_for
from simulated_cluster import SETTINGS, distillation, spec


class Claims(Cluster):
    """Knows claims alone, all in one phase, and notes what is read."""

    def __init__(self) -> None:
        super().__init__(ApiClient())
        self.phase, self.read = "Bound", list[str]()

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if kind != "PersistentVolumeClaim":
            return None
        self.read.append(name)
        metadata = {"name": name, "namespace": namespace}
        return {"kind": kind, "metadata": metadata, "spec": {}, "status": {"phase": self.phase}}


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(known_children, "monotonic", lambda: clock.now)
    return clock


async def collect(children: KnownChildren, claim: str) -> None:
    plan = plan_for(distillation(spec(storage={"claimName": claim})), SETTINGS, DistillationStatus())
    await children.collect(plan, DistillationStatus())


async def test_a_claim_of_the_users_is_read_every_ten_minutes(clock: Clock) -> None:
    claims = Claims()
    children = KnownChildren(claims, lambda _: None)
    for clock.now in (1000.0, 1001.0, 1599.0, 1601.0):
        await collect(children, "mine")
    assert claims.read == ["mine", "mine"]


async def test_a_claim_that_has_no_volume_yet_is_read_each_time(clock: Clock) -> None:
    claims = Claims()
    claims.phase = "Pending"
    children = KnownChildren(claims, lambda _: None)
    for _ in range(3):
        await collect(children, "mine")
    assert claims.read == ["mine", "mine", "mine"]


async def test_claims_that_nobody_asks_about_are_forgotten(clock: Clock) -> None:
    children = KnownChildren(Claims(), lambda _: None)
    for number in range(1000):
        clock.now += 10.0
        await collect(children, f"claim-{number}")
    assert len(children._given_claims) == 61
