"""The base model in the workspace that all students of a server of adapters are trained on."""

from datetime import date

import pytest

from distillery_api.stage import Stage
from distillery_trainer.runtime.errors import TryLater
from distillery_trainer.runtime.folder_locks import locked_folder
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.kept_base import kept_base
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun

BASE = "base-a"


def test_processes_that_read_a_kept_base_model_do_not_shut_each_other_out(tmp_path):
    run = TrainEvaluateRun(tmp_path / "run", write_tiny_model(tmp_path / "model"), base_folder=BASE)
    config, rendering = run.config(Stage.TRAIN), Rendering(thinking=False, today=date(2026, 1, 1))
    with locked_folder(config, BASE), pytest.raises(TryLater):
        kept_base(config, BASE, rendering)  # another stage fills it
    kept = kept_base(config, BASE, rendering)
    with locked_folder(config, BASE):
        assert kept_base(config, BASE, rendering).path == kept.path == tmp_path / "run" / BASE
