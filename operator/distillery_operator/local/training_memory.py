"""Asks the trainer how much memory the training of a plan will take."""

from __future__ import annotations

import tempfile
from pathlib import Path

from distillery_api.training_memory import THIS_MACHINE, TrainingMachine, TrainingMemory
from distillery_operator.local.references import CLAIM_SCHEME, LocalSubstitutes, ResolvedReferences
from distillery_operator.local.trainer import require_trainer
from distillery_operator.local.trainer_query import ask_trainer
from distillery_operator.planning.plan import Plan


def memory_here(plan: Plan, inputs: ResolvedReferences) -> TrainingMemory:
    """The memory for the rows of a local run. Raises QueryFailed, TrainerMissing or OSError."""
    return _memory(["memory", "--rows"], plan, inputs, THIS_MACHINE)


def memory_in_cluster(plan: Plan, machine: TrainingMachine, folder: Path, mappings: LocalSubstitutes) -> TrainingMemory:
    """The memory for the longest rows that are allowed, on a machine of the cluster. The student is read from here,
    relative to `folder`. Raises QueryFailed, TrainerMissing or OSError."""
    mounts = {f"{CLAIM_SCHEME}{name}": str(path) for name, path in mappings.claims.items()}
    return _memory(["memory"], plan, ResolvedReferences(mounts, str(folder), {}, {}), machine)


def _memory(command: list[str], plan: Plan, inputs: ResolvedReferences, machine: TrainingMachine) -> TrainingMemory:
    require_trainer()
    with tempfile.TemporaryDirectory() as drafts:
        found = ask_trainer(command, plan, inputs, Path(drafts), machine=machine)
    return TrainingMemory.model_validate_json(found)
