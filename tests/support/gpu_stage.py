"""Stages in processes of their own that see the machine's GPU."""

from __future__ import annotations

import os
import subprocess
import sys

from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from train_evaluate_run import TrainEvaluateRun

LIMITED = """
import sys, torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv.pop(1)))
from distillery_trainer.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def start_on_gpu(run: TrainEvaluateRun, stage: Stage, memory_fraction: float | None = None) -> subprocess.Popen[str]:
    """The stage as a process of its own; it may take this share of the GPU's memory."""
    path = run.workspace / f"{stage}.json"
    path.write_text(run.config(stage).model_dump_json(by_alias=True))
    start = ["-m", "distillery_trainer"] if memory_fraction is None else ["-c", LIMITED, str(memory_fraction)]
    command = [sys.executable, *start, stage, "--config", str(path)]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)


def finish_on_gpu(run: TrainEvaluateRun, stage: Stage, memory_fraction: float | None = None) -> StageResult:
    """The result of a stage that must not fail."""
    process = start_on_gpu(run, stage, memory_fraction)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return run.result(stage)
