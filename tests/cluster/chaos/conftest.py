"""A whole life of a Distillation under faults, and what must hold at its end.

CI runs a part of what is here; `make chaos` runs all of it (CHAOS=whole).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api_faults import ApiFaults, Witness
from cluster import Cluster
from control_plane import ControlPlane
from distillations import Distilled, small_spec
from operator_process import NAME, OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

LONG = 400.0
"""Seconds for a part of a life whose operator keeps dying."""
OTHERWISE = {"exit": 2, "reason": "VerificationFailed", "message": "3 of 16 rows were answered otherwise."}
CANARY = {"strategy": "Canary", "steps": [{"percent": 10, "duration": "2s"}, {"percent": 50}]}
WHOLE = os.environ.get("CHAOS") == "whole"
LEFT_AFTER_DELETION = {"persistentvolumeclaims"}
CHILDREN = ("jobs", "pods", "configmaps", "deployments", "replicasets", "services", "persistentvolumeclaims")


@dataclass
class Life:
    """One Distillation, the operator, and an API server with faults between them."""

    distilled: Distilled
    faults: ApiFaults
    operator: OperatorProcess
    node: ProcessNode

    def workspace(self, claim: str | None = None) -> Path:
        """The folder of a claim, by default of its own."""
        name = claim or wait_until(lambda: self.distilled.status.get("workspaceClaim"), 30, "the claim")
        return wait_until(lambda: self.node.volume(self.distilled.namespace, name), 30, "the volume")

    @property
    def witness(self) -> Witness:
        """What the operator has written."""
        return self.faults.witness

    def until_served(self) -> None:
        """From its creation to its first student."""
        self.distilled.apply()
        self.distilled.wait_ready(180)

    def swap(self) -> None:
        """Another student takes the first one's place."""
        self.distilled.patch({"training": {"learningRate": 0.01}})
        self.distilled.wait_ready(180)

    def gate_and_roll_back(self) -> None:
        """A first student that fails the quality gate, is served once the gate is lower, and comes back when the next
        one answers otherwise than its evaluation."""
        self._apply(gate=0.9, learning_rate=0.001)
        self.distilled.wait("Stalled", reason="QualityGateFailed", seconds=LONG)
        assert self.distilled.children("deployments") == []
        self._apply(gate=0.5, learning_rate=0.001)
        self.distilled.wait("Ready", seconds=LONG)
        first = self.distilled.status["serving"]["train"]
        self._apply(gate=0.5, learning_rate=0.01, verify=OTHERWISE)
        self.distilled.wait("Stalled", reason="VerificationFailed", seconds=LONG)
        wait_until(lambda: self.distilled.message().endswith("serves again"), LONG, "the first student")
        assert self.distilled.status["serving"]["train"] == first

    def take_over_by_shares(self) -> None:
        """A second student gets the requests step by step, waits for its promotion and takes over; a third one, whose
        answers are not those of its evaluation, leaves nothing behind."""
        self._apply_canary(learning_rate=0.01)
        self.distilled.wait("Ready", seconds=LONG)
        self._apply_canary(learning_rate=0.001)
        self.distilled.wait("Suspended", reason="AwaitingPromotion", seconds=LONG)
        second = self.distilled.status["history"][0]["train"]
        assert self.distilled.status["serving"]["train"] != second
        self.distilled.kubectl("annotate", "distillation/small", f"distillery.dev/promote={second}")
        self.distilled.wait("Ready", seconds=LONG)
        assert self.distilled.status["serving"]["train"] == second
        self._apply_canary(learning_rate=0.002, verify=OTHERWISE)
        self.distilled.wait("Stalled", reason="VerificationFailed", seconds=LONG)
        wait_until(lambda: self.distilled.message().endswith("serves on"), LONG, "the student that serves")
        assert self.distilled.status["serving"]["train"] == second
        wait_until(lambda: len(self.distilled.children("deployments")) == 1, LONG, "the end of the candidate")

    def _apply_canary(self, learning_rate: float, verify: dict[str, Any] | None = None) -> None:
        storage = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}
        serving = {"runtime": "Transformers", "rollout": CANARY}
        spec = small_spec(training={"learningRate": learning_rate}, serving=serving, storage=storage)
        self.distilled.apply(spec, {"verify": [verify or {}]})

    def _apply(self, gate: float, learning_rate: float, verify: dict[str, Any] | None = None) -> None:
        bounds = {"minScore": gate, "againstServing": "Ignore"}
        table = {"evaluation": {"sampleSize": 150, "student": {"score": 0.7}, "base": {"score": 0.4}}}
        spec = small_spec(training={"learningRate": learning_rate}, evaluation={"gate": bounds})
        self.distilled.apply(spec, {"evaluate": [table], "verify": [verify or {}]})

    def end(self) -> None:
        """Delete it, and see that nothing is left but the claim, with its paid replies."""
        self.distilled.delete()
        wait_until(lambda: self._kinds_left() <= LEFT_AFTER_DELETION, 60, "its children to go")

    def _kinds_left(self) -> set[str]:
        return {kind for kind in CHILDREN if self.distilled.children(kind)}

    def whole(self) -> None:
        """A whole life, and what holds at its end whatever happened in it."""
        self.until_served()
        first = self.distilled.status["serving"]["modelPath"]
        self.swap()
        assert self.distilled.status["serving"]["modelPath"] != first
        assert [each["attempts"] for each in self.distilled.status["stages"]] == [1, 1, 1, 1]
        assert not (self.workspace() / "two-writers").exists()
        self.end()
        self.witness.assert_no_job_twice()
        self.witness.assert_no_status_backwards()


@pytest.fixture
def life(
    control_plane: ControlPlane,
    namespace: str,
    scripted_node: ProcessNode,
    start_operator: Callable[..., OperatorProcess],
) -> Iterator[Life]:
    """A life that has not begun; its operator runs, and nothing fails yet."""
    with ApiFaults(control_plane.server, control_plane.certificates.authority) as faults:
        operator = start_operator(
            kubeconfig=control_plane.kubeconfig_for(NAME, namespace, server=faults.server), DISTILLERY_RESYNC="15s"
        )
        yield Life(Distilled(control_plane, namespace), faults, operator, scripted_node)


@pytest.fixture
def cluster(control_plane: Cluster) -> Cluster:
    """The cluster, as its administrator sees it."""
    return control_plane
