"""What the callbacks of transformers for TensorBoard, Weights & Biases and trackio are told, and when."""

import contextlib
import importlib
import sys
from types import SimpleNamespace

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distillery_api.spec import Tracking
from distillery_api.stage import Stage
from distillery_trainer.student.tracker_callbacks import (
    BackgroundCallback,
    reported,
    run_id,
    tracker_callbacks,
)
from train_evaluate_run import FOLDERS, TrainEvaluateRun


class Library(TrainerCallback):
    """The callback of a library: it has the parameters of those of transformers, and notes what it hears."""

    def __init__(self, fails_at=None):
        self.events, self._fails_at = [], fails_at

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self._note("begin", state.global_step, args.run_name, args.project, model)

    def on_log(self, args, state, control, model=None, logs=None, **kwargs):
        self._note("log", state.global_step, logs)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self._note("end", state.global_step)

    def _note(self, event, *what):
        self.events.append((event, *what))
        if event == self._fails_at:
            raise ConnectionError("refused")


def config(folder, stage=Stage.TRAIN, **tracking):
    found = TrainEvaluateRun(folder, folder / "base").config(stage)
    return found.model_copy(update={"tracking": Tracking.model_validate(tracking) if tracking else None})


def train(callback, begins_after=0):
    args, state, control = SimpleNamespace(run_name="out", project="x"), TrainerState(), TrainerControl()
    state.global_step = begins_after
    callback.on_train_begin(args, state, control, model="model")
    for step in (begins_after + 10, begins_after + 20):
        state.global_step = step
        callback.on_log(args, state, control, logs={"loss": 1.0 / step}, model="model")
    callback.on_train_end(args, state, control)
    return args


def test_a_training_is_reported_from_its_beginning_to_its_end(tmp_path):
    library = Library()
    callback = BackgroundCallback("Library", lambda state: library, config(tmp_path, reportTo=["WandB"]))
    args = train(callback, begins_after=20)
    assert library.events == [
        ("begin", 20, FOLDERS[Stage.TRAIN], "tiny", "model"),
        ("log", 30, {"loss": 1.0 / 30}),
        ("log", 40, {"loss": 1.0 / 40}),
        ("end", 40),
    ]
    assert (args.run_name, args.project) == ("out", "x"), "the settings of the training stay as they are"


@pytest.mark.parametrize("fails_at", ["begin", "log"])
def test_a_library_that_fails_is_said_once_and_the_training_goes_on(tmp_path, capsys, fails_at):
    library = Library(fails_at)
    train(BackgroundCallback("Library", lambda state: library, config(tmp_path, reportTo=["WandB"])))
    assert [event for event, *_ in library.events] == ["begin", "log", "log", "end"]
    assert capsys.readouterr().err == "Library: refused. The stage goes on; its own files have all figures.\n"


def test_the_run_of_a_training_that_fails_is_ended_so_that_the_next_one_has_its_own(tmp_path):
    library = Library()
    callback = BackgroundCallback("Library", lambda state: library, config(tmp_path, reportTo=["WandB"]))
    with contextlib.suppress(MemoryError), reported([callback]):
        callback.on_train_begin(SimpleNamespace(), TrainerState(global_step=4), TrainerControl())
        raise MemoryError
    assert library.events[-1] == ("end", 4)


WANDB = """
run, config, began = None, {}, []

def init(**settings):
    global run
    assert run is None, "a run goes on"
    run = type("Run", (), {"_label": lambda self, **_: None, "lines": [], **settings})()
    began.append(run)

def finish():
    global run
    run = None

def log(figures):
    run.lines.append(figures)
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """In the place of the library: runs that nobody but the process knows."""
    package = tmp_path / "packages/wandb"
    (package / "sdk/lib").mkdir(parents=True)
    for folder in (package, package / "sdk", package / "sdk/lib"):
        (folder / "__init__.py").write_text(WANDB if folder == package else "")
    (package / "sdk/lib/config_util.py").write_text("class ConfigError(Exception): ...\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: True)
    yield importlib.import_module("wandb")
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb"]:
        del sys.modules[name]


def test_each_trial_of_a_search_is_a_run_of_its_own_in_weights_and_biases(tmp_path, wandb, capsys):
    for rate in ("0.1", "0.2"):
        trial = config(tmp_path, reportTo=["WandB"], experiment="nlp").model_copy(
            update={"folder": f"{FOLDERS[Stage.TRAIN]}/search/rate-{rate}"}
        )
        (callback,) = tracker_callbacks(trial)
        args, state, control = TrainingArguments(output_dir=str(tmp_path)), TrainerState(), TrainerControl()
        with reported([callback]):
            callback.on_train_begin(args, state, control)
            callback.on_log(args, state, control, logs={"loss": float(rate)})
    assert capsys.readouterr().err == ""
    stage = FOLDERS[Stage.TRAIN]
    assert [(run.id, run.name, run.project, run.group, run.dir) for run in wandb.began] == [
        (f"tiny-{stage}-search-rate-0-1", f"{stage}/search/rate-0.1", "nlp", "tiny", str(tmp_path / stage)),
        (f"tiny-{stage}-search-rate-0-2", f"{stage}/search/rate-0.2", "nlp", "tiny", str(tmp_path / stage)),
    ]
    assert [[line["train/loss"] for line in run.lines] for run in wandb.began] == [[0.1], [0.2]]


def test_a_library_that_cannot_be_loaded_is_said_once(tmp_path, capsys):
    def fail(state):
        raise RuntimeError("requires wandb to be installed")

    train(BackgroundCallback("WandB", fail, config(tmp_path, reportTo=["WandB"])))
    assert capsys.readouterr().err.count("WandB: requires wandb to be installed.") == 1


def test_other_processes_of_a_training_report_nothing(tmp_path):
    library = Library()
    callback = BackgroundCallback("Library", lambda state: library, config(tmp_path, reportTo=["WandB"]))
    state = TrainerState(is_world_process_zero=False)
    callback.on_train_begin(None, state, TrainerControl())
    callback.on_log(None, state, TrainerControl(), logs={"loss": 1.0})
    callback.on_train_end(None, state, TrainerControl())
    assert library.events == []


@pytest.mark.parametrize(
    ("trackers", "stage", "count"),
    [
        (["TensorBoard", "WandB", "Trackio"], Stage.TRAIN, 3),
        (["MLflow"], Stage.TRAIN, 0),
        (["TensorBoard", "MLflow"], Stage.TRAIN, 1),
        (["TensorBoard"], Stage.EVALUATE, 0),
        (None, Stage.TRAIN, 0),
    ],
)
def test_each_tracker_of_the_training_has_its_callback(tmp_path, trackers, stage, count):
    given = config(tmp_path, stage, reportTo=trackers) if trackers else config(tmp_path, stage)
    assert len(tracker_callbacks(given)) == count


def test_the_id_of_a_run_is_the_same_in_every_attempt_and_fits_an_address(tmp_path):
    search = config(tmp_path).model_copy(update={"folder": "train-x/search/lr 0.001"})
    assert run_id(search) == "tiny-train-x-search-lr-0-001"
