"""A model that two processes divide: trained, saved and resumed as one process does it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tiny_model import write_tiny_model

PROGRAM = Path(__file__).parents[1] / "support" / "sharded_training.py"


def run(tiny, folder, method, *, processes, steps=99):
    """The losses by epoch, for training and validation; none of a training that was stopped after some steps."""
    how = "sharded" if processes > 1 else "whole"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    ended = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), PROGRAM, tiny, folder, method, how, str(steps)],
        capture_output=True,
        check=False,
        text=True,
        timeout=500,
    )
    line = next((line for line in ended.stdout.splitlines() if line.startswith("LOSSES ")), None)
    assert line, ended.stderr[-3000:]
    return [figure for epoch in json.loads(line.removeprefix("LOSSES ")) for figure in epoch]


def weights(folder, name):
    return torch.cat([each.flatten() for _, each in sorted(load_file(folder / name).items())])


@pytest.mark.parametrize(
    ("method", "file", "first", "then"),
    [("Full", "model.safetensors", 2, 1), ("LoRA", "adapter_model.safetensors", 1, 2)],
)
def test_sharded_training_resumed_with_another_number_of_processes_is_that_of_one(method, file, first, then, tmp_path):
    tiny = write_tiny_model(tmp_path / "tiny")
    alone = run(tiny, tmp_path / "alone", method, processes=1)
    assert run(tiny, tmp_path / "resumed", method, processes=first, steps=4) == []
    whole, part = (tmp_path / "alone" / "checkpoint-9"), (tmp_path / "resumed" / "checkpoint-4")
    names = {path.name for path in whole.iterdir()} - {"rng_state.pth", "rng_state_0.pth", "rng_state_1.pth"}
    assert names <= {path.name for path in part.iterdir()}

    assert run(tiny, tmp_path / "resumed", method, processes=then) == pytest.approx(alone, abs=1e-3)
    trained, expected = weights(tmp_path / "resumed" / "checkpoint-9", file), weights(whole, file)
    assert (trained - expected).norm() < 1e-3 * expected.norm()
