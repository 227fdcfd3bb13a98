"""The training log and the metrics of a training, from what the trainer reports."""

import json
import math

import pytest
from prometheus_client import generate_latest
from transformers import TrainerControl, TrainerState

from distillery_api.stage import Stage
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.student.training_log import TrainingLog


class Training:
    """A training that logs what it is told to."""

    def __init__(self, path, begins_after=0, report=lambda step, figures: None):
        self.log = TrainingLog(path, report)
        self.log.on_train_begin(None, TrainerState(global_step=begins_after), TrainerControl())

    def at(self, step, **logs):
        state = TrainerState(global_step=step, epoch=step / 10)
        self.log.on_log(None, state, TrainerControl(), logs=logs)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train-x" / "training-log.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_time(path):
    return [{name: value for name, value in line.items() if name != "time"} for line in lines(path)]


def test_a_line_has_what_was_measured_after_a_step(path):
    training = Training(path)
    training.at(10, loss=1.25, learning_rate=0.001, grad_norm=0.5, epoch=1.0)
    training.at(10, eval_loss=1.5, eval_score=0.75, eval_runtime=3.0, epoch=1.0)
    training.at(20, loss=1.0, learning_rate=0.0005)
    training.at(20, train_runtime=9.0, train_loss=1.1)
    first = {"loss": 1.25, "learningRate": 0.001, "gradientNorm": 0.5, "validationLoss": 1.5, "validationScore": 0.75}
    assert without_time(path) == [
        {"step": 10, "epoch": 1.0, **first},
        {"step": 20, "epoch": 2.0, "loss": 1.0, "learningRate": 0.0005},
    ]
    assert lines(path)[0]["time"].endswith("+00:00")


def test_steps_that_are_trained_again_replace_those_that_were_lost(path):
    before = Training(path)
    for step in (10, 20, 30, 40):
        before.at(step, loss=float(step))
    resumed = Training(path, begins_after=20)
    assert [line["step"] for line in lines(path)] == [10, 20, 30, 40], "nothing is deleted before there is more"
    resumed.at(30, loss=-30.0)
    resumed.at(40, loss=-40.0)
    assert [(line["step"], line["loss"]) for line in lines(path)] == [(10, 10.0), (20, 20.0), (30, -30.0), (40, -40.0)]


def test_an_evaluation_that_is_made_up_for_joins_the_line_of_its_step(path):
    Training(path).at(20, loss=2.0)
    resumed = Training(path, begins_after=20)
    resumed.at(20, eval_loss=2.5)
    assert without_time(path) == [{"step": 20, "epoch": 2.0, "loss": 2.0, "validationLoss": 2.5}]


@pytest.mark.parametrize("torn", [b'{"step": 30, "lo', b"\x00\x00\x00", b"[]\n", b'{"step": "x"}\n'])
def test_what_a_kill_leaves_of_a_line_is_left_out(path, torn):
    Training(path).at(10, loss=1.0)
    path.write_bytes(path.read_bytes() + torn)
    Training(path, begins_after=10).at(20, loss=2.0)
    assert [line["step"] for line in lines(path)] == [10, 20]


def test_a_loss_that_is_no_number_is_null(path):
    Training(path).at(10, loss=math.nan, learning_rate=0.1)
    assert lines(path)[0]["loss"] is None


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(path, capsys):
    path.mkdir(parents=True)
    training = Training(path)
    training.at(10, loss=1.0)
    training.at(20, loss=1.0)
    assert capsys.readouterr().err.count("The training log is not complete") == 1


def test_the_figures_are_metrics_of_the_stage_once_they_are_known(path):
    progress = ProgressReporter(Stage.TRAIN)
    assert "distillery_training" not in samples(progress)
    training = Training(path, report=progress.training_figures)
    training.at(10, loss=1.25, learning_rate=0.001)
    training.at(20, eval_loss=1.5, eval_score=0.75)
    text = samples(progress)
    for sample in (
        'distillery_training_loss{stage="train"} 1.25',
        'distillery_training_learning_rate{stage="train"} 0.001',
        'distillery_training_validation_loss{stage="train"} 1.5',
        'distillery_training_validation_score{stage="train"} 0.75',
        'distillery_training_epoch{stage="train"} 2.0',
    ):
        assert sample in text


def samples(progress):
    return "\n".join(
        line for line in generate_latest(progress.registry).decode().splitlines() if not line.startswith("#")
    )
