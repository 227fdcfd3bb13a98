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
SETTINGS = {"learningRate": 0.0002, "epochs": 16, "batchSize": 8, "maxLength": 512, "lora": {"rank": 4, "alpha": 8}}
"""Five steps an epoch, of a tenth of a second: so many of them that a Pod can be killed on the way."""
LAST_STEP = 80
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

    def kill_pod(self, number: int, *, after: int, later_than: int = 0) -> int:
        """Kill a node's Pod of an attempt later than another one, once the checkpoint of a step or of a later one is
        complete; returns the number of the attempt."""
        wait_until(lambda: self._has_checkpoint(after), PATIENCE, f"the checkpoint of step {after}")
        killed = wait_until(lambda: self._is_over() or self._killed(number, later_than), PATIENCE, f"Pod {number}")
        assert not self._is_over(), f"Pod {number} of an attempt after {later_than} was not there to be killed"
        return int(killed)

    def _is_over(self) -> bool:
        """Whether the training has ended, well or not."""
        return bool({"Trained", "Stalled"} & self.distilled.truths())

    def _killed(self, number: int, later_than: int) -> int:
        """The number of the attempt whose Pod was running and is killed; 0 where there is none."""
        record = self.distilled.stage("train")
        attempt = record.get("attempts", 0)
        if attempt <= later_than:
            return 0
        try:
            self.node.kill(f"{self.distilled.namespace}/{record['job']}-{number}-?????")
        except LookupError:
            return 0
        return int(attempt)

    def _has_checkpoint(self, step: int) -> bool:
        """Whether the checkpoint of a step, or of a later one, is complete, with the random states of four
        processes."""
        names = ["complete.json", *(f"rng_state_{rank}.pth" for rank in range(4))]
        folders = [self.folder / "checkpoints" / f"checkpoint-{number}" for number in range(step, LAST_STEP + 1, 5)]
        return any(all((folder / name).exists() for name in names) for folder in folders)


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
    assert [step for step, *_ in together.curve()] == list(range(5, LAST_STEP + 1, 5))
    (pod,) = together.distilled.children("pods", "evaluate")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "answered by one process" not in together.node.logs(together.distilled.namespace, pod["metadata"]["name"])
    assert together.curve() == [pytest.approx(figures, abs=1e-3) for figures in curve]


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
def test_a_training_goes_on_from_its_checkpoint_whichever_pod_was_killed(curve: list[Figures], apply: Apply) -> None:
    together = apply("killed", TOGETHER)
    attempt = together.kill_pod(1, after=5)
    until_5 = [line for line in together.log() if line["step"] <= 5]
    attempt = together.kill_pod(0, after=20, later_than=attempt)
    until_20 = [line for line in together.log() if line["step"] <= 20]
    together.distilled.wait_while_well("Trained", seconds=PATIENCE)
    assert together.distilled.stage("train")["attempts"] > attempt
    assert together.curve() == [pytest.approx(figures, abs=1e-3) for figures in curve]
    # With their times: nothing before a checkpoint was trained again.
    assert (together.log()[: len(until_5)], together.log()[: len(until_20)]) == (until_5, until_20)
