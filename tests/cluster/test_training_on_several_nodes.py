"""Two Pods of two processes each train one student, on the operator's own Job and Service: together they do what one
process does, also where Pods are killed on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from real_inputs import real_spec, write_inputs
from waiting import wait_until

INPUTS = "inputs"
SETTINGS = {"learningRate": 0.001, "epochs": 3, "batchSize": 8, "maxLength": 512, "lora": {"rank": 4, "alpha": 8}}
NO_GPU_SEEN = {"name": "CUDA_VISIBLE_DEVICES", "value": ""}
"""The node's GPUs are known to the scheduler alone: the processes train on the CPU."""
ON_THE_CPU = {"podTemplate": {"spec": {"containers": [{"name": "stage", "env": [NO_GPU_SEEN]}]}}}
TOGETHER = {"nodes": 2, "gpusPerNode": 2, **ON_THE_CPU}
PATIENCE = 900.0
"""Seconds for generate and train on a busy machine."""

Figures = list[float | None]
StartOperator = Callable[..., OperatorProcess]
Apply = Callable[[str, dict[str, Any]], "Trained"]


@dataclass(frozen=True)
class Trained:
    """A Distillation that trains, and its workspace."""

    distilled: Distilled
    node: ProcessNode

    @property
    def folder(self) -> Path:
        """Of its train stage."""
        (claim,) = self.distilled.children("persistentvolumeclaims")
        (found,) = self.node.volume(self.distilled.namespace, claim["metadata"]["name"]).glob("train-*")
        return found

    def log(self) -> list[dict[str, Any]]:
        """The lines of its training log."""
        return [json.loads(line) for line in (self.folder / "training-log.jsonl").read_text().splitlines()]

    def curve(self) -> list[Figures]:
        """Step, loss on train rows and loss on validation rows of each line."""
        return [[line["step"], line.get("loss"), line.get("validationLoss")] for line in self.log()]

    def kill_pod(self, number: int, *, attempt: int, after: int) -> list[dict[str, Any]]:
        """Kill a node's Pod of an attempt, once the checkpoint of a step is complete; returns the training log up to
        there."""
        wait_until(lambda: self._has_checkpoint(after), PATIENCE, f"the checkpoint of step {after}")
        wait_until(lambda: self._killed(number, attempt), PATIENCE, f"Pod {number} of attempt {attempt}")
        return [line for line in self.log() if line["step"] <= after]

    def _killed(self, number: int, attempt: int) -> bool:
        """Whether the Pod was running, and is killed."""
        record = self.distilled.stage("train")
        if record.get("attempts") != attempt:
            return False
        try:
            self.node.kill(f"{self.distilled.namespace}/{record['job']}-{number}-?????")
        except LookupError:
            return False
        return True

    def _has_checkpoint(self, step: int) -> bool:
        """Whether the checkpoint of a step is complete, with the random states of four processes."""
        names = ["complete.json", *(f"rng_state_{rank}.pth" for rank in range(4))]
        return all((self.folder / "checkpoints" / f"checkpoint-{step}" / name).exists() for name in names)


@pytest.fixture
def apply(control_plane: Cluster, namespace: str, node: ProcessNode, teacher: str) -> Iterator[Apply]:
    """Apply a Distillation; all have the same rows, model and settings, and each a workspace of its own."""
    write_inputs(control_plane, node, namespace, INPUTS, {"train": 40, "validation": 8, "test": 4})
    node.set_gpus(4)

    def applied(name: str, processes: dict[str, Any]) -> Trained:
        distilled = Distilled(control_plane, namespace, name)
        spec = real_spec(
            teacher,
            f"pvc://{INPUTS}/",
            training={**SETTINGS, **processes},
            evaluation=ON_THE_CPU,
            serving={"mode": "None"},
            storage={"size": "1Gi", "accessModes": ["ReadWriteMany"]},
        )
        distilled.apply(spec)
        return Trained(distilled, node)

    yield applied
    node.set_gpus(1)


@pytest.fixture
def curve(start_operator: StartOperator, apply: Apply) -> list[Figures]:
    """That of one process."""
    start_operator(DISTILLERY_TRAINER_IMAGE="distillery-trainer:test")
    alone = apply("alone", {})
    alone.distilled.wait("Trained", seconds=PATIENCE)
    found = alone.curve()
    alone.distilled.delete()
    return found


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
def test_two_pods_of_two_processes_train_as_one_process_does(curve: list[Figures], apply: Apply) -> None:
    together = apply("together", TOGETHER)
    together.distilled.wait("Evaluated", seconds=PATIENCE)
    assert together.distilled.stage("train")["attempts"] == 1
    (job,) = together.distilled.children("jobs", "train")
    assert job["status"]["succeeded"] == 2
    assert [step for step, *_ in together.curve()] == [5, 10, 15]
    (pod,) = together.distilled.children("pods", "evaluate")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "answered by one process" not in together.node.logs(together.distilled.namespace, pod["metadata"]["name"])
    assert together.curve() == [pytest.approx(figures, abs=1e-3) for figures in curve]


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
def test_a_training_goes_on_from_its_checkpoint_whichever_pod_was_killed(curve: list[Figures], apply: Apply) -> None:
    together = apply("killed", TOGETHER)
    second = together.kill_pod(1, attempt=1, after=5)
    first = together.kill_pod(0, attempt=2, after=10)
    together.distilled.wait("Trained", seconds=PATIENCE)
    assert together.distilled.stage("train")["attempts"] == 3
    assert together.curve() == [pytest.approx(figures, abs=1e-3) for figures in curve]
    # With their times: nothing before a checkpoint was trained again.
    assert (together.log()[: len(second)], together.log()[: len(first)]) == (second, first)
