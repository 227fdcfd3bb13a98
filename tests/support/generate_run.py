"""One generate stage against a teacher, for tests: rows in, the stage's own entry point, files out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillery_api.stage_result import StageResult
from distillery_trainer.__main__ import main

# A student that is nowhere is not checked, which takes seconds; this must hold before the Hub's library is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
STUDENT = "hf://org/student"
LABELS = ("entailment", "neutral", "contradiction")

GENERATE_AND_PRINT_PEAK = """
import re, sys
from distillery_trainer.__main__ import main
exit_code = main(["generate", "--config", sys.argv[1]])
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(exit_code)
"""
"""The stage as a program that takes its run.json and prints its own peak memory in KiB, without that of its parent."""


def nli_row(number: int, gold: str | None = None, **extra: Any) -> dict[str, Any]:
    """A valid row with this number."""
    text = f"Premise: Person {number} reads and writes.\nHypothesis: Person {number} reads."
    return {"messages": [{"role": "user", "content": text}], **({"gold": gold} if gold else {}), **extra}


def nli_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Good rows with gold, the labels in turn."""
    return [nli_row(number, LABELS[number % 3]) for number in range(start, start + count)]


def gold_of(*splits: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What a teacher has to know to answer the rows."""
    return {row["messages"][-1]["content"]: row["gold"] for rows in splits for row in rows}


def jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows as a file."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_splits(root: Path, **splits: Sequence[Mapping[str, Any]] | bytes | None) -> dict[str, Any]:
    """Write the rows of each split, or the bytes of its file; the `data` of a manifest. None leaves a split out."""
    given = {split: content for split, content in splits.items() if content is not None}
    for split, content in given.items():
        (root / f"{split}.jsonl").write_bytes(content if isinstance(content, bytes) else jsonl(content))
    return {split: {"uri": f"{split}.jsonl"} for split in given}


@dataclass
class GenerateRun:
    """A workspace with data and a config. Splits may be rows or the bytes of a file."""

    root: Path
    endpoint: str
    train: Sequence[Mapping[str, Any]] | bytes = field(default_factory=lambda: nli_rows(12))
    validation: Sequence[Mapping[str, Any]] | bytes = field(default_factory=lambda: nli_rows(6, 100))
    test: Sequence[Mapping[str, Any]] | bytes | None = field(default_factory=lambda: nli_rows(3, 200))
    generation: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    folder: str = "generate-0123456789"

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def config_file(self) -> Path:
        """Write data and config; the config's path."""
        data = write_splits(self.root, train=self.train, validation=self.validation, test=self.test)
        teacher = {"name": "tester", "endpoint": self.endpoint, "model": "teacher", **self.teacher}
        config = {
            "stage": "generate",
            "name": "test",
            "folder": self.folder,
            "workspace": str(self.workspace),
            "basePath": str(self.root),
            "task": "NLI",
            "labels": LABELS,
            "data": {**data, **self.data},
            "generation": {"teachers": [teacher], "concurrency": 4, "minRows": 1, **self.generation},
            "student": {"model": {"uri": STUDENT}},
            "training": {},
            "requestTimeoutSeconds": 20,
            "metricsHost": "127.0.0.1",
            "metricsPort": 0,
            "terminationMessagePath": str(self.root / "termination-log"),
            **self.config,
        }
        path = self.root / "run.json"
        path.write_text(json.dumps(config))
        return path

    # --- running

    def run(self) -> StageResult:
        """Run the stage here, through its entry point; its result."""
        exit_code = main(["generate", "--config", str(self.config_file)])
        assert exit_code == self.result.exit_code
        return self.result

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Run the stage as a process of its own."""
        command = [sys.executable, "-m", "distillery_trainer", "generate", "--config", str(self.config_file)]
        return subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)

    # --- what came of it

    @property
    def result(self) -> StageResult:
        return StageResult.model_validate_json((self.workspace / self.folder / "result.json").read_bytes())

    @property
    def termination_message(self) -> str:
        return (self.root / "termination-log").read_text()

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of one of the stage's files, such as train or rejected."""
        lines = (self.workspace / self.folder / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def reasons(self) -> list[str]:
        """The reasons of the rejected rows, in the order of the input."""
        return [row["reason"] for row in self.rows("rejected")]

    def journal(self) -> list[dict[str, Any]]:
        """All lines of the replies' journal."""
        segments = sorted((self.workspace / "replies").glob("*.jsonl"))
        return [json.loads(line) for segment in segments for line in segment.read_text().splitlines()]
