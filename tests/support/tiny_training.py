"""Trainings of a tiny model in processes of their own, which are killed where a test says. They are forks of this one,
which has loaded everything.

    training = TinyTraining(tmp_path / "killed", dropout=0.2)
    assert training.attempt(Fault("step", 5)).signal == signal.SIGKILL
    assert training.attempt().outcome["steps"] == 24
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from distillery_api.spec import Training
from distillery_api.stage_result import TrainingSettings
from distillery_trainer.runtime.errors import StageError
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.checkpoint_errors import checkpoint_errors_explained
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.student.training_loop import TrainedModel, TrainingSetup, train
from distillery_trainer.student.training_monitor import TrainingMonitor
from small_student import small_student
from tiny_model import read_tokenizer


@dataclass(frozen=True)
class Fault:
    """What happens to a process, once."""

    at: str
    """step, micro-batch or validation batch: the number of it; file: the number of the event on a file or folder of
    the training; seconds: of processor time."""
    number: float
    signal: int = signal.SIGKILL


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    signal: int
    """That ended it; 0 if it ended by itself."""
    said: str
    outcome: dict[str, Any] | None = None
    """Of a training that ended; None if it was stopped."""
    error: str | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    """How often there was an occasion for a fault."""
    peak_memory: int = 0
    """Kilobytes."""


@dataclass(frozen=True)
class TinyTraining:
    """One training, whose attempts share a folder."""

    folder: Path
    rows: int = 22
    epochs: int = 4
    batch_size: int = 4
    learning_rate: float = 0.02
    dropout: float = 0.0
    rank: int | None = 4
    """None trains all weights."""
    micro_batches: int = 1
    epochs_without_gain: int | None = None
    max_seconds: float | None = None
    seconds_per_step: float = 100.0
    base_seed: int = 7
    scored: bool = False
    hidden_size: int = 16
    disk_full_after: int | None = None
    """Steps after which nothing can be written any more."""

    def attempt(self, fault: Fault | None = None) -> Ended:
        """One attempt in a process of its own."""

        def work(faults: Faults) -> dict[str, Any] | None:
            with checkpoint_errors_explained(self.folder):
                trained = in_process(self, faults.occasion)
            return _facts(trained) if trained else None

        return forked(work, Faults(fault, self.folder, self.disk_full_after))


def forked(work: Callable[[Faults], dict[str, Any] | None], faults: Faults) -> Ended:
    """Work in a process of its own, which is a fork of this one, and meets with the faults."""
    report, said = (faults.folder.with_name(f"{faults.folder.name}.{name}") for name in ("ended.json", "said"))
    report.unlink(missing_ok=True)
    with warnings.catch_warnings(action="ignore"):  # of other threads, which the training does not need
        process = os.fork()
    if process == 0:
        try:
            _run(work, faults, report, said)
        finally:
            os._exit(0)
    _, status = os.waitpid(process, 0)
    found = json.loads(report.read_text()) if report.exists() else {}
    return Ended(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, said.read_text(), **found)


@dataclass
class Faults:
    """Counts the occasions, and strikes at one."""

    fault: Fault | None
    folder: Path
    """Whose files are meant."""
    disk_full_after: int | None = None
    """Steps."""
    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_OCCASIONS, 0))

    def begin(self) -> None:
        """Watch this process from now on."""
        sys.addaudithook(self._audit)
        if self.fault and self.fault.at == "seconds":
            signal.setitimer(signal.ITIMER_PROF, self.fault.number)  # whose signal ends the process at once

    def occasion(self, kind: str) -> None:
        """Count one."""
        self.events[kind] += 1
        if kind == "step" and self.events[kind] == self.disk_full_after:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        if self.fault and self.fault.at == kind and self.events[kind] == self.fault.number:
            os.kill(os.getpid(), self.fault.signal)

    def _audit(self, event: str, details: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS and str(self.folder) in str(details[0]):
            self.occasion("file")


_OCCASIONS = ("step", "micro-batch", "validation batch", "file", "seconds")
_FILE_EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"})


def _run(work: Callable[[Faults], dict[str, Any] | None], faults: Faults, report: Path, said: Path) -> None:
    sys.stderr = said.open("w", buffering=1)
    torch.set_num_threads(1)
    quiet_libraries()
    found: dict[str, Any] = {}
    try:
        faults.begin()
        found["outcome"] = work(faults)
    except StageError as error:
        found["error"] = error.message
    except Exception:  # noqa: BLE001 - a test shows it
        traceback.print_exc(file=sys.stderr)
    found["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report.write_text(json.dumps({**found, "events": faults.events}))
    sys.stderr.flush()


def _facts(trained: TrainedModel) -> dict[str, Any]:
    facts = {**asdict(trained), "losses": [each.model_dump() for each in trained.losses]}
    return {**facts, "checkpoint": trained.checkpoint.name}


def setup_of(training: TinyTraining) -> TrainingSetup:
    """What the training starts with."""
    torch.manual_seed(training.base_seed)
    size = training.hidden_size
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=49152,
            hidden_size=size,
            intermediate_size=2 * size,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.2,  # so that everything that differs shows in the loss
        )
    )
    spec = Training.model_validate(
        {"warmupSteps": 2, "lora": {"dropout": training.dropout}, "method": "LoRA" if training.rank else "Full"}
    )
    return TrainingSetup(
        model=model,
        tokenizer=read_tokenizer(small_student()),
        adapters=_adapters(training, spec, model) if training.rank else None,
        train_rows=[row(number) for number in range(training.rows)],
        validation_rows=[row(number) for number in range(100, 106)],
        training=spec,
        settings=TrainingSettings(
            epochs=training.epochs,
            epochs_without_gain=training.epochs_without_gain,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            rank=training.rank,
            alpha=8 if training.rank else None,
        ),
        device=Device("cpu", torch.float32, "CPU"),
        folder=training.folder,
        micro_batches=training.micro_batches,
        score=_score if training.scored else None,
    )


def _adapters(training: TinyTraining, spec: Training, model: PreTrainedModel) -> LoraConfig:
    return lora_adapters(spec.method, training.rank or 1, 8, training.dropout, adapted_layers(model))


def row(number: int) -> EncodedRow:
    """A row whose answer is one of three, and longer for some."""
    prompt = [1, 500 + number, 600 + number % 3, 700 + number % 5, *([900] * (number % 4))]
    answer = [800 + number % 3] * (1 + number % 2) + [2]
    return EncodedRow(prompt + answer, [IGNORED] * len(prompt) + answer, id=f"row-{number}")


def _score(model: Any) -> float:
    """A coarse figure of the weights, as a score is."""
    weights = sum(float(weight.detach().abs().sum()) for weight in model.parameters() if weight.requires_grad)
    return round(weights % 1, 1)


def in_process(training: TinyTraining, occasion: Callable[[str], object] = lambda kind: None) -> TrainedModel | None:
    """The training in this process; `occasion` is called at each step, micro-batch and validation batch."""
    setup, reached, steps = setup_of(training), [], []

    def report(done: int, total: int) -> None:
        if reached and done > reached[-1]:
            steps.append(done)
            occasion("step")
        reached.append(done)

    monitor = TrainingMonitor(
        report, clock=lambda: training.seconds_per_step * len(steps), max_seconds=training.max_seconds
    )
    monitor.alive = lambda: occasion("validation batch" if not setup.model.training else "micro-batch")
    return train(setup, monitor)
