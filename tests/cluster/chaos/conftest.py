"""A whole life of a Distillation under faults, and what must hold at its end.

CI runs a part of what is here; `make chaos` runs all of it (CHAOS=whole).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api_faults import ApiFaults, Witness
from cluster import Cluster
from control_plane import ControlPlane
from distillations import Distilled
from operator_process import NAME, OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

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
