"""Reports to experiment trackers: to MLflow's own library and store, and to trackers that fail or hang."""

import os
import threading
import time

import pytest

from distillery_api.evaluation import Evaluation, Score
from distillery_api.reasons import Reason
from distillery_api.spec import Tracking
from distillery_api.stage import ExitCode, Stage
from distillery_api.stage_result import RowCounts, StageOutcome, StageResult, TrainingFigures, TrainingSettings
from distillery_api.usage import Usage
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.tracking.background_reports import BackgroundReports
from distillery_trainer.tracking.requirements import check_tracking, set_environment, without_credentials
from distillery_trainer.tracking.tracked_stage import tracked
from train_evaluate_run import FOLDERS, TrainEvaluateRun

RESULTS = {
    Stage.GENERATE: {
        "splits": {"train": RowCounts(read=12, kept=11, rejected=1)},
        "usage": Usage(requests=12, cost=0.5),
    },
    Stage.TRAIN: {
        "training": TrainingFigures(
            steps=30,
            train_loss=0.1,
            validation_loss=0.2,
            settings=TrainingSettings(epochs=3, batch_size=4, learning_rate=0.001, rank=16, alpha=32),
            trainable_parameters=1000,
            device="cpu",
            seconds=9.0,
        )
    },
    Stage.EVALUATE: {"evaluation": Evaluation(sample_size=6, student=Score(score=0.9), teacher=Score(score=0.8))},
    Stage.VERIFY: {},
}


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """A client of an empty store in a folder."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("DISTILLERY_TRACKING_MLFLOW_TRACKING_URI", f"file://{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "1")
    from mlflow import MlflowClient

    return MlflowClient(f"file://{tmp_path}/store")


class Run:
    """A run whose stages are reported, without what they do."""

    def __init__(self, folder, **tracking):
        self.run = TrainEvaluateRun(folder, folder / "base")
        self.tracking = Tracking.model_validate({"reportTo": ["MLflow"], **tracking})

    def config(self, stage, **changes):
        return self.run.config(stage).model_copy(update={"tracking": self.tracking, **changes})

    def stage(self, stage, figures=(), state=StageOutcome.DONE, exit_code=0, **changes):
        config, progress = self.config(stage, **changes), ProgressReporter(stage)
        result = StageResult(
            stage=stage, folder=FOLDERS[stage], state=state, exit_code=exit_code, message="Said.", **RESULTS[stage]
        )
        with tracked(config, progress) as reported:
            for step, measured in figures:
                progress.training_figures(step, measured)
            assert reported.finished(result) is result
            reported.reports.close()

    def lose(self, stage, figures):
        """Report figures of an attempt that is killed."""
        progress = ProgressReporter(stage)
        with tracked(self.config(stage), progress) as reported:
            for step, measured in figures:
                progress.training_figures(step, measured)
            reported.reports.close()


def runs(client, name="tiny"):
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id])
    return {run.info.run_name: run for run in found}, len(found)


def history(client, run, metric):
    return sorted((each.step, each.value) for each in client.get_metric_history(run.info.run_id, metric))


def test_a_distillation_is_one_run_with_a_nested_one_for_each_stage(mlflow, tmp_path):
    run = Run(tmp_path / "run")
    run.stage(Stage.GENERATE)
    run.stage(Stage.TRAIN, [(10, {"loss": 1.5, "learningRate": 0.001}), (20, {"loss": 1.0})])
    run.stage(Stage.EVALUATE)
    found, count = runs(mlflow)
    assert count == 4
    parent = found["tiny"]
    nested = {name: found[folder] for name, folder in FOLDERS.items() if folder in found}
    assert {each.data.tags["mlflow.parentRunId"] for each in nested.values()} == {parent.info.run_id}
    assert {each.info.status for each in found.values()} == {"FINISHED"}
    assert parent.data.metrics == {"student/score": 0.9, "teacher/score": 0.8, "usage/cost": 0.5, "seconds": 9.0}
    train = nested[Stage.TRAIN]
    assert history(mlflow, train, "loss") == [(10, 1.5), (20, 1.0)]
    assert train.data.metrics["best/validationLoss"] == 0.2
    assert (train.data.params["rank"], train.data.params["learningRate"]) == ("16", "0.001")
    assert nested[Stage.GENERATE].data.metrics["rows/train/kept"] == 11
    assert nested[Stage.EVALUATE].data.metrics["student/score"] == 0.9


def test_a_killed_stage_goes_on_with_its_run_and_reports_no_step_twice(mlflow, tmp_path):
    run = Run(tmp_path / "run", experiment="nlp")
    run.lose(Stage.TRAIN, [(10, {"loss": 1.0}), (20, {"loss": 0.9})])
    assert runs(mlflow, "nlp")[0][FOLDERS[Stage.TRAIN]].info.status == "RUNNING"
    run.stage(Stage.TRAIN, [(20, {"loss": 0.9}), (30, {"loss": 0.8})])
    found, count = runs(mlflow, "nlp")
    assert count == 2
    assert history(mlflow, found[FOLDERS[Stage.TRAIN]], "loss") == [(10, 1.0), (20, 0.9), (30, 0.8)]


def test_a_run_that_the_server_no_longer_has_is_made_anew(mlflow, tmp_path):
    run = Run(tmp_path / "run")
    run.stage(Stage.GENERATE)
    for each in runs(mlflow)[0].values():
        mlflow.delete_run(each.info.run_id)
    run.stage(Stage.TRAIN)
    assert set(runs(mlflow)[0]) == {"tiny", FOLDERS[Stage.TRAIN]}


@pytest.mark.parametrize(
    ("exit_code", "status"), [(ExitCode.USER_ERROR, "FAILED"), (ExitCode.TRY_LATER, "FAILED"), (143, "KILLED")]
)
def test_how_a_stage_ended_is_the_status_of_its_run(mlflow, tmp_path, exit_code, status):
    Run(tmp_path / "run").stage(Stage.TRAIN, state=StageOutcome.FAILED, exit_code=exit_code)
    assert runs(mlflow)[0][FOLDERS[Stage.TRAIN]].info.status == status


def test_an_evaluated_student_is_a_candidate_and_one_that_users_are_served_the_champion(mlflow, tmp_path):
    run = Run(tmp_path / "run", registeredModel="answers")
    run.stage(Stage.EVALUATE)
    run.stage(Stage.EVALUATE)
    assert version(mlflow, "candidate").tags["distillery.folder"] == FOLDERS[Stage.TRAIN]
    run.stage(Stage.VERIFY, server_url="http://tiny-candidate.ns.svc:8000/v1")
    assert "champion" not in mlflow.get_registered_model("answers").aliases
    run.stage(Stage.VERIFY, server_url="http://tiny.ns.svc:8000/v1")
    assert mlflow.get_registered_model("answers").aliases == {"candidate": "1", "champion": "1"}
    run.stage(Stage.EVALUATE, inputs={Stage.TRAIN: "train-next"})
    assert mlflow.get_registered_model("answers").aliases == {"candidate": "2", "champion": "1"}


def version(client, alias):
    return client.get_model_version_by_alias("answers", alias)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://user:hidden-word@127.0.0.1:9", "nonsense://x"])
def test_a_tracker_that_cannot_be_reached_is_said_once_and_stops_nothing(mlflow, tmp_path, monkeypatch, capsys, uri):
    monkeypatch.setenv("DISTILLERY_TRACKING_MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    Run(tmp_path / "run").stage(Stage.TRAIN, [(step, {"loss": 1.0}) for step in range(3)])
    said = capsys.readouterr().err
    assert said.count("MLflow: ") == said.count("The stage goes on") == 1
    assert "hidden-word" not in said


def test_figures_that_a_server_did_not_take_are_sent_with_the_next_ones(mlflow, tmp_path, capsys):
    run = Run(tmp_path / "run")
    store, away = tmp_path / "store", tmp_path / "away"
    store.rename(away)
    progress = ProgressReporter(Stage.TRAIN)
    with tracked(run.config(Stage.TRAIN), progress) as reported:
        progress.training_figures(10, {"loss": 1.0})
        wait_until_said(capsys)
        away.rename(store)
        progress.training_figures(20, {"loss": 0.9})
        reported.reports.close()
    assert history(mlflow, runs(mlflow)[0][FOLDERS[Stage.TRAIN]], "loss") == [(10, 1.0), (20, 0.9)]


def wait_until_said(capsys):
    deadline = time.monotonic() + 60
    while "The stage goes on" not in capsys.readouterr().err:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_tracker_that_hangs_keeps_the_stage_for_its_patience_only(capsys):
    release = threading.Event()
    reports = BackgroundReports("Slow", patience_seconds=0.1)
    made = []
    reports.submit(release.wait)
    for number in range(1500):
        reports.submit(lambda number=number: made.append(number))
    reports.close()
    release.set()
    said = capsys.readouterr().err
    assert said == (
        "Slow: it is too slow, and some figures are left out. The stage goes on; its own files have all figures.\n"
    )


def test_a_stage_without_trackers_reports_nothing(tmp_path):
    run = Run(tmp_path / "run")
    progress = ProgressReporter(Stage.TRAIN)
    with tracked(run.config(Stage.TRAIN, tracking=None), progress) as reported:
        progress.training_figures(1, {"loss": 1.0})
    assert reported.reports is None


def test_a_missing_library_is_said_before_anything_is_paid(tmp_path):
    config = Run(tmp_path, reportTo=["WandB", "Trackio"]).config(Stage.TRAIN)
    with pytest.raises(UserError) as raised:
        check_tracking(config)
    assert raised.value.reason is Reason.INVALID_SPEC
    assert raised.value.message == (
        "tracking.reportTo: WandB and Trackio cannot be reported to, since the trainer's image or environment lacks the"
        " library; add it (pip install wandb trackio), or remove the name."
    )


def test_mlflow_without_a_server_is_said_as_well(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DISTILLERY_TRACKING_MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="MLflow needs the variable MLFLOW_TRACKING_URI"):
        check_tracking(Run(tmp_path).config(Stage.GENERATE))


def test_the_libraries_get_the_credentials_under_their_own_names(monkeypatch):
    monkeypatch.setenv("DISTILLERY_TRACKING_WANDB_API_KEY", "abc123def")
    monkeypatch.setenv("WANDB_API_KEY", "another")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    set_environment()
    assert os.environ["WANDB_API_KEY"] == "abc123def"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert without_credentials("refused abc123def at http://me:pw@host/x") == "refused … at http://host/x"


def trial(run, name):
    return run.config(Stage.TRAIN, folder=f"{FOLDERS[Stage.TRAIN]}/search/{name}")


def trial_result(config, **changes):
    return StageResult(stage=Stage.TRAIN, folder=config.folder, state="Done", message="Said.", exit_code=0).model_copy(
        update={**RESULTS[Stage.TRAIN], **changes}
    )


def report_search(run, *names, figures=((10, {"loss": 1.5}), (20, {"loss": 1.0})), interrupted=None):
    """Report a search whose stage ends in the midst of `interrupted`."""
    progress = ProgressReporter(Stage.TRAIN)
    with tracked(run.config(Stage.TRAIN), progress) as reported:
        for name in (*names, *([interrupted] if interrupted else [])):
            progress.observer.trial_begins(trial(run, name))
            for step, measured in figures:
                progress.training_figures(step, measured)
            if name != interrupted:
                progress.observer.trial_ended(trial_result(trial(run, name)))
        stage = trial_result(run.config(Stage.TRAIN))
        reported.finished(stage.model_copy(update={"exit_code": 143, "state": "Failed"}) if interrupted else stage)
        reported.reports.close()


def test_each_trial_of_a_search_is_a_run_in_that_of_its_stage(mlflow, tmp_path):
    report_search(Run(tmp_path / "run"), "rate-0.001", "rate-0.01")
    found, count = runs(mlflow)
    stage = found[FOLDERS[Stage.TRAIN]]
    trials = [found[f"{stage.info.run_name}/search/{name}"] for name in ("rate-0.001", "rate-0.01")]
    assert count == 4
    assert {each.data.tags["mlflow.parentRunId"] for each in trials} == {stage.info.run_id}
    for each in trials:
        assert history(mlflow, each, "loss") == [(10, 1.5), (20, 1.0)]
        assert (each.data.params["rank"], each.data.metrics["best/validationLoss"]) == ("16", 0.2)
    assert {each.info.status for each in found.values()} == {"FINISHED"}
    assert history(mlflow, stage, "loss") == [], "it has the result of the search"
    assert stage.data.metrics["best/validationLoss"] == 0.2


def test_an_interrupted_search_goes_on_with_the_run_of_the_trial_under_way(mlflow, tmp_path):
    run = Run(tmp_path / "run")
    report_search(run, "rate-0.001", interrupted="rate-0.01", figures=[(10, {"loss": 1.5})])
    ended = runs(mlflow)[0][f"{FOLDERS[Stage.TRAIN]}/search/rate-0.01"]
    assert ended.info.status == "KILLED"
    report_search(run, "rate-0.01")
    found, count = runs(mlflow)
    assert count == 4
    again = found[ended.info.run_name]
    assert (again.info.status, history(mlflow, again, "loss")) == ("FINISHED", [(10, 1.5), (20, 1.0)])


def test_a_trial_that_ended_while_the_server_was_down_is_reported_once_it_is_back(mlflow, tmp_path, capsys):
    store, away, run = tmp_path / "store", tmp_path / "away", Run(tmp_path / "run")
    store.rename(away)
    progress = ProgressReporter(Stage.TRAIN)
    with tracked(run.config(Stage.TRAIN), progress) as reported:
        progress.observer.trial_begins(trial(run, "rate-0.001"))
        progress.training_figures(10, {"loss": 1.5})
        progress.observer.trial_ended(trial_result(trial(run, "rate-0.001")))
        reported.reports.submit(lambda: away.rename(store))
        reported.finished(trial_result(run.config(Stage.TRAIN)))
        reported.reports.close()
    found, count = runs(mlflow)
    ended = found[f"{FOLDERS[Stage.TRAIN]}/search/rate-0.001"]
    assert (count, history(mlflow, ended, "loss"), ended.info.status) == (3, [(10, 1.5)], "FINISHED")
    assert capsys.readouterr().err.count("MLflow: ") == 1
