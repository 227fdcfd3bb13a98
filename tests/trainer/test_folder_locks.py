"""Distillations that share a workspace: one stage at a time in a folder, several side by side in different ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.__main__ import main
from distillery_trainer.runtime.errors import TryLater
from distillery_trainer.runtime.folder_locks import locked_folders
from train_evaluate_run import TrainEvaluateRun

HOLD = """
import sys, time
from pathlib import Path
from distillery_api.run_config import RunConfig
from distillery_trainer.runtime.folder_locks import locked_folders
with locked_folders(RunConfig.read(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> TrainEvaluateRun:
    return TrainEvaluateRun(tmp_path, tmp_path / "base")


def other(config: RunConfig, **changes: object) -> RunConfig:
    """The stage of another Distillation."""
    return config.model_copy(update={"name": "other", **changes})


def write_config(run: TrainEvaluateRun, stage: Stage) -> str:
    path = run.workspace / f"{stage}.json"
    path.write_text(run.config(stage).model_dump_json(by_alias=True))
    return str(path)


def test_second_stage_in_a_folder_ends_without_a_trace_and_then_finds_the_result(run: TrainEvaluateRun):
    config = write_config(run, Stage.TRAIN)
    with subprocess.Popen([sys.executable, "-c", HOLD, config], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert main(["train", "--config", config]) == 3
        said = json.loads((run.workspace / "train-message").read_text())
        assert said["reason"] == "WorkspaceInUse"
        assert said["message"].startswith(
            "Another stage is using the folder train-0123456789 of the workspace (train-0123456789 of tiny on "
        )
        assert not run.folder(Stage.TRAIN).exists()
        process.send_signal(signal.SIGKILL)
    done = StageResult(stage=Stage.TRAIN, folder="train-0123456789", state=StageOutcome.DONE, message="80 rows")
    run.folder(Stage.TRAIN).mkdir()
    (run.folder(Stage.TRAIN) / "result.json").write_text(done.model_dump_json(by_alias=True))
    assert main(["train", "--config", config]) == 0
    assert json.loads((run.workspace / "train-message").read_text())["message"] == "80 rows"


def test_stages_in_different_folders_run_side_by_side_on_the_same_rows(run: TrainEvaluateRun):
    config = run.config(Stage.TRAIN)
    with locked_folders(config), locked_folders(other(config, folder="train-9876543210")):
        pass


def test_rows_are_not_written_anew_while_a_training_reads_them(run: TrainEvaluateRun):
    with (
        locked_folders(run.config(Stage.TRAIN)),
        pytest.raises(TryLater, match=r"generate-0123456789 of the workspace \(train-0123456789 of tiny"),
        locked_folders(other(run.config(Stage.GENERATE))),
    ):
        pass


def test_rows_are_not_read_while_they_are_written(run: TrainEvaluateRun):
    with (
        locked_folders(run.config(Stage.GENERATE)),
        pytest.raises(TryLater, match="generate-0123456789 of tiny"),
        locked_folders(other(run.config(Stage.EVALUATE))),
    ):
        pass
    with locked_folders(run.config(Stage.EVALUATE)):
        pass
