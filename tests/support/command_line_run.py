"""The command line as a user runs it: a folder with a manifest, rows and a student, and `distillery` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from generate_run import STUDENT, nli_rows, write_splits

PROGRAM = Path(sys.executable).with_name("distillery")
FAST = {"epochs": 1, "batchSize": 8, "learningRate": 0.001, "maxLength": 256, "lora": {"rank": 4, "alpha": 8}}


@dataclass
class CommandLineRun:
    """A manifest with its rows. Splits may be rows or the bytes of a file; None leaves the split out."""

    root: Path
    endpoint: str
    name: str = "tiny"
    train: Sequence[Mapping[str, Any]] | bytes = field(default_factory=lambda: nli_rows(24))
    validation: Sequence[Mapping[str, Any]] | bytes = field(default_factory=lambda: nli_rows(6, 100))
    test: Sequence[Mapping[str, Any]] | bytes | None = field(default_factory=lambda: nli_rows(12, 200))
    generation: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    student: str = "student"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def student_uri(self) -> str:
        """The student's folder if a test has made one."""
        return self.student if (self.root / self.student).exists() else STUDENT

    @property
    def manifest(self) -> Path:
        """Writes rows and manifest; the manifest's path."""
        data = write_splits(self.root, train=self.train, validation=self.validation, test=self.test)
        teacher = {"name": "tester", "endpoint": self.endpoint, "model": "teacher", **self.teacher}
        spec = {
            "task": "NLI",
            "data": data,
            "generation": {"teachers": [teacher], "concurrency": 4, "minRows": 1, **self.generation},
            "student": {"model": {"uri": self.student_uri}},
            "training": {**FAST, **self.training},
        }
        identity = {"apiVersion": "distillery.dev/v1alpha1", "kind": "Distillation", "metadata": {"name": self.name}}
        path = self.root / "manifest.yaml"
        path.write_text(yaml.safe_dump({**identity, "spec": spec}, sort_keys=False))
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`distillery run` in a process group of its own, as a terminal gives it."""
        return self.start_file(self.manifest, *arguments)

    def start_file(self, manifest: Path, *arguments: str) -> subprocess.Popen[str]:
        """The same with a manifest of the test's own."""
        command = [str(PROGRAM), "run", str(manifest), "--out", str(self.out), *arguments]
        return subprocess.Popen(
            command,
            env=quiet_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> Ended:
        """`distillery run`, to its end."""
        return finished(self.start(*arguments))

    def run_file(self, manifest: Path, *arguments: str) -> Ended:
        """The same with a manifest of the test's own."""
        return finished(self.start_file(manifest, *arguments))

    @property
    def result(self) -> dict[str, Any]:
        """What the workspace's result.json says."""
        return json.loads((self.out / "result.json").read_text())


@dataclass(frozen=True)
class Ended:
    """A process that ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


def finished(process: subprocess.Popen[str], timeout: float = 300) -> Ended:
    stdout, stderr = process.communicate(timeout=timeout)
    assert "Traceback" not in stdout + stderr
    return Ended(process.returncode, stdout, stderr)


def press_control_c(process: subprocess.Popen[str]) -> None:
    """SIGINT to the whole foreground group, as a terminal sends it."""
    os.killpg(process.pid, signal.SIGINT)


def quiet_environment() -> dict[str, str]:
    """Small models on a CPU, and nothing from the network."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
