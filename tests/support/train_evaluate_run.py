"""A workspace as the generate stage leaves it, and the stages after it, in this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillery_api.run_config import RunConfig
from distillery_api.spec import NLI_LABELS
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult, TrainingFigures

SYSTEM = "Answer with one word: entailment, neutral or contradiction."
FOLDERS = {
    Stage.GENERATE: "generate-0123456789",
    Stage.TRAIN: "train-0123456789",
    Stage.EVALUATE: "evaluate-0123456789",
    Stage.VERIFY: "verify-0123456789",
}


def chat(text: str, system: str = SYSTEM) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def training_row(number: int, answer: str | None = None, text: str | None = None) -> dict[str, Any]:
    """A row that the generate stage kept."""
    label = answer or NLI_LABELS[number % 3]
    return {
        "id": f"row-{number}",
        "prompt": chat(text or f"Premise: {label} {number}.\nHypothesis: {number}."),
        "completion": [{"role": "assistant", "content": label}],
        "teacher": "oracle",
    }


def training_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [training_row(number) for number in range(start, start + count)]


def held_out_row(number: int, gold: str | None = None, **changes: Any) -> dict[str, Any]:
    """A test row that the teacher has answered, rightly unless it is told otherwise."""
    label = gold or NLI_LABELS[number % 3]
    text = f"Premise: {label} {number}.\nHypothesis: {number}."
    row = {
        "id": f"test-{number}",
        "studentPrompt": chat(text),
        "teacherPrompt": chat(text, "Think step by step. " + SYSTEM),
        "gold": label,
        "reply": f"The answer is {label}.",
        "answer": label,
        "reason": None,
        "inputTokens": 40,
        "outputTokens": 8,
        "latencySeconds": 0.5,
        "fromValidation": False,
    }
    return {**row, **changes}


def held_out_rows(count: int) -> list[dict[str, Any]]:
    return [held_out_row(number) for number in range(count)]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass
class TrainEvaluateRun:
    """One run's workspace after the generate stage."""

    workspace: Path
    base: Path
    """The base model's folder."""
    train: Sequence[Mapping[str, Any]] = field(default_factory=lambda: training_rows(12))
    validation: Sequence[Mapping[str, Any]] = field(default_factory=lambda: training_rows(6, 100))
    test: Sequence[Mapping[str, Any]] = field(default_factory=lambda: held_out_rows(6))
    training: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    task: str = "NLI"
    labels: Sequence[str] = NLI_LABELS
    serving_student: Mapping[str, Any] | None = None
    """The student that the new one is compared with."""
    processes: int | None = None
    """That answer the held-out rows."""
    micro_batches: int = 1
    base_folder: str | None = None
    """Where the base model is kept for a server of adapters."""
    tool_format: str = "Template"
    """How the student reads tools."""

    def __post_init__(self) -> None:
        generated = self.folder(Stage.GENERATE)
        write_rows(generated / "train.jsonl", self.train)
        write_rows(generated / "validation.jsonl", self.validation)
        write_rows(generated / "test.jsonl", self.test)
        (generated / "student-prompt.txt").write_text(SYSTEM)

    def folder(self, stage: Stage) -> Path:
        return self.workspace / FOLDERS[stage]

    def config(self, stage: Stage) -> RunConfig:
        teacher = {"name": "oracle", "endpoint": "http://127.0.0.1:1/v1", "model": "oracle"}
        earlier = list(FOLDERS)[: list(FOLDERS).index(stage)]
        return RunConfig.model_validate(
            {
                "stage": stage,
                "name": "tiny",
                "folder": FOLDERS[stage],
                "inputs": {name: FOLDERS[name] for name in earlier},
                "workspace": str(self.workspace),
                "basePath": str(self.workspace),
                "task": self.task,
                "data": {"train": {"uri": "train.jsonl"}, "validation": {"uri": "validation.jsonl"}},
                "generation": {"teachers": [teacher], **self.generation},
                "student": {"model": {"uri": str(self.base)}, "toolFormat": self.tool_format},
                "training": {"preset": "Azure", "maxLength": 256, **self.training},
                "labels": self.labels,
                "evaluation": self.evaluation,
                "servingStudent": self.serving_student,
                "processes": self.processes,
                "microBatches": self.micro_batches,
                "baseFolder": self.base_folder,
                "metricsHost": "127.0.0.1",
                "metricsPort": 0,
                "terminationMessagePath": str(self.workspace / f"{stage}-message"),
            }
        )

    def command(self, stage: Stage) -> list[str]:
        """The command of the stage, whose configuration is written to the workspace."""
        path = self.workspace / f"{stage}.json"
        path.write_text(self.config(stage).model_dump_json(by_alias=True))
        return [sys.executable, "-m", "distillery_trainer", stage, "--config", str(path)]

    def start(self, stage: Stage) -> subprocess.Popen[str]:
        """The stage as a process of its own, as a Job runs it."""
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.Popen(
            self.command(stage), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )

    def result(self, stage: Stage) -> StageResult:
        return StageResult.model_validate_json((self.folder(stage) / "result.json").read_text())

    def training_figures(self) -> TrainingFigures:
        """Those of the train stage that is done. Raises LookupError where its result has none."""
        figures = self.result(Stage.TRAIN).training
        if figures is None:
            raise LookupError("the stage's result has no training figures")
        return figures
