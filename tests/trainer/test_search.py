"""A search: which combinations are tried, and the students that they make."""

import json
import shutil

import pytest
import torch

from distillery_api.reasons import Reason
from distillery_api.search_figures import TrialFailure
from distillery_api.spec import Combination, Training
from distillery_api.stage import Stage
from distillery_api.stage_result import TrainingFigures, TrainingSettings
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import train
from distillery_trainer.student.chosen_settings import as_trained
from distillery_trainer.student.search_trials import best_first, chosen_combinations, trial_name, trial_training
from tiny_model import read_model, write_tiny_model
from train_evaluate_run import TrainEvaluateRun, training_rows


def combinations(seed=42, **search):
    return [tuple(each) for each in chosen_combinations(Training.model_validate({"seed": seed, "search": search}))]


# --- what is tried


def test_all_combinations_are_tried_where_there_are_no_more_than_trials():
    both = {(0.001, 2, None), (0.001, 4, None), (0.01, 2, None), (0.01, 4, None)}
    assert set(combinations(learningRates=[0.001, 0.01], epochs=[2, 4])) == both
    assert set(combinations(learningRates=[0.001, 0.01], epochs=[2, 4], trials=9)) == both


def test_of_more_combinations_each_value_is_tried_equally_often():
    tried = combinations(learningRates=[0.1, 0.2, 0.3, 0.4], epochs=[1, 2], ranks=[4, 8], trials=8)
    assert len(set(tried)) == 8
    rates, epochs, ranks = ([each[position] for each in tried] for position in range(3))
    assert sorted(rates) == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]
    assert sorted(epochs) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert sorted(ranks) == [4, 4, 4, 4, 8, 8, 8, 8]
    assert len({(each[1], each[2]) for each in tried}) == 4, "each number of epochs with each rank"


def test_the_seed_chooses_and_the_order_of_the_lists_does_not():
    lists = {"learningRates": [0.1, 0.2, 0.3, 0.4], "epochs": [1, 2, 3]}
    reversed_lists = {"learningRates": [0.4, 0.3, 0.2, 0.1], "epochs": [3, 2, 1]}
    assert combinations(**lists, trials=3) == combinations(**reversed_lists, trials=3)
    assert len({tuple(combinations(seed, **lists, trials=3)) for seed in range(8)}) > 1


def test_a_trial_is_trained_with_its_values_and_what_else_the_manifest_says():
    training = Training.model_validate({"batchSize": 4, "search": {"learningRates": [0.1, 0.2], "ranks": [4, 8]}})
    made = trial_training(training, Combination(0.2, None, 8))
    assert made == Training.model_validate({"batchSize": 4, "learningRate": 0.2, "lora": {"rank": 8}})
    assert made.adapter_alpha == 16
    assert training.adapter_rank == 8, "a server of adapters has room for the largest"
    assert trial_name(Combination(0.2, 3, 8)) == "rate-0.2-epochs-3-rank-8"


def test_the_learning_curve_trains_with_the_values_of_the_best_trial():
    training = Training.model_validate({"search": {"learningRates": [0.1, 0.2], "epochs": [3, 6]}})
    best = TrainingSettings(epochs=6, batch_size=4, learning_rate=0.2, rank=16, alpha=32)
    made = as_trained(training, best)
    assert (made.search, made.learning_rate, made.epochs, made.lora.rank) == (None, 0.2, 6, 16)


def figures(score, loss):
    return TrainingFigures(
        steps=1,
        train_loss=0,
        validation_loss=loss,
        validation_score=score,
        trainable_parameters=1,
        device="cpu",
        seconds=1,
    )


@pytest.mark.parametrize(
    ("measured", "best"),
    [
        ([(0.9, 0.5), (0.8, 0.1)], 0),
        ([(0.8, 0.5), (0.8, 0.1)], 1),
        ([(0.8, 0.1), (0.8, 0.1)], 0),
        ([(None, 0.5), (None, 0.1)], 1),
        ([(0.9, 0.5), (None, 0.1)], 1),
    ],
)
def test_the_best_student_has_the_highest_score_or_without_one_the_lowest_loss(measured, best):
    trained = {Combination(None, number, None): figures(*each) for number, each in enumerate(measured)}
    assert best_first(trained)[0].epochs == best


# --- the students


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "base")


def searching(folder, base, validation_rows=4, **training):
    """A run with two steps an epoch, whose validation rows are too few for a score unless there are ten."""
    return TrainEvaluateRun(
        folder,
        base,
        train=training_rows(8),
        validation=training_rows(validation_rows, 100),
        training={"preset": "Auto", "batchSize": 4, "maxLength": 256, "warmupSteps": 0, **training},
    )


def trained(run, progress=None):
    return train.run(run.config(Stage.TRAIN), progress or ProgressReporter(Stage.TRAIN))


def test_the_best_of_several_students_goes_on_and_all_are_in_the_result(tiny, tmp_path, capsys):
    run = searching(tmp_path, tiny, 10, search={"learningRates": [0.00001, 0.02], "epochs": [1, 2], "trials": 3})
    progress = ProgressReporter(Stage.TRAIN)
    result = trained(run, progress)
    search = result.training.search
    assert (search.combinations, search.trained, search.failed, len(search.trials)) == (4, 3, 0, 3)
    assert search.trials[0].learning_rate == result.training.settings.learning_rate
    assert search.trials[0].loss == round(result.training.validation_loss, 4)
    assert search.trials[0].score == max(trial.score for trial in search.trials)
    assert search.seconds == pytest.approx(sum(trial.seconds for trial in search.trials), abs=0.2)
    # 2 steps an epoch; two of the trials have 1 epoch and one has 2, or the other way round.
    epochs = sum(trial.epochs for trial in search.trials)
    assert (progress.progress.done, progress.progress.total) == (2 * epochs, 2 * epochs)
    assert "best of 3 trials: learning rate " in result.message
    said = capsys.readouterr().err
    assert "Search: 3 students are trained of 4 combinations, and the best goes on." in said
    assert "Trial 3 of 3: learning rate" in said
    folder = run.folder(Stage.TRAIN)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["adapter", "model", "search"]
    assert {path.name for path in folder.glob("search/*/*")} == {"trial.json", "training-log.jsonl"}


def test_finished_trials_are_not_trained_again(tiny, tmp_path, capsys):
    run = searching(tmp_path, tiny, epochs=1, search={"learningRates": [0.001, 0.01]})
    first = trained(run).training
    capsys.readouterr()
    # Killed before it could say so, and then with the student's model lost as well.
    assert trained(run).training == first
    assert "Trial" not in capsys.readouterr().err
    shutil.rmtree(run.folder(Stage.TRAIN) / "model")
    again = trained(run).training
    assert capsys.readouterr().err.count("Trial ") == 1
    assert again.search.trials[0].loss == first.search.trials[0].loss
    assert (run.folder(Stage.TRAIN) / "model").exists()


def test_trials_that_failed_are_said_after_the_student(tiny, tmp_path):
    run = searching(tmp_path, tiny, epochs=1, search={"learningRates": [0.001, 0.5], "ranks": [4, 8], "trials": 3})
    tried = chosen_combinations(run.config(Stage.TRAIN).training)
    for combination, failure in zip(tried, ("Diverged", "OutOfMemory"), strict=False):
        record = run.folder(Stage.TRAIN) / "search" / trial_name(combination) / "trial.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"failure": failure}))
    result = trained(run)
    assert [trial.failure for trial in result.training.search.trials] == [
        None,
        TrialFailure.DIVERGED,
        TrialFailure.OUT_OF_MEMORY,
    ]
    assert "best of 3 trials, 2 of which made no student: learning rate" in result.message


def test_max_duration_limits_all_trials_together_and_leaves_a_student(tiny, tmp_path, capsys):
    run = searching(tmp_path, tiny, epochs=100, maxDuration="1s", search={"learningRates": [0.001, 0.002, 0.003]})
    first, second, _ = chosen_combinations(run.config(Stage.TRAIN).training)
    record = run.folder(Stage.TRAIN) / "search" / trial_name(first) / "trial.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"failure": "Diverged", "seconds": 60}')
    result = trained(run)
    search = result.training.search
    assert (search.trained, search.failed, search.left_out) == (1, 1, 1)
    assert (search.trials[0].learning_rate, search.trials[0].is_over_time) == (second.learning_rate, True)
    assert result.training.steps < result.training.planned_steps == 200
    assert "of 200 steps, when training.maxDuration (1s) was over, on 8 rows" in result.message
    assert (
        "; best of 2 of 3 trials, until maxDuration was over, 1 of which made no student: learning rate "
        in result.message
    )
    assert "training.maxDuration (1s) is over: the other trials are left out." in capsys.readouterr().err
    assert trained(run) == result, "an attempt that was killed before it could say so leaves out the same trials"


def test_where_every_trial_diverges_each_is_tried_and_the_stage_fails_with_a_sentence(tiny, tmp_path, capsys):
    broken = shutil.copytree(tiny, tmp_path / "broken")
    model = read_model(broken)
    with torch.no_grad():
        model.model.norm.weight[0] = torch.inf
    model.save_pretrained(broken)
    run = searching(tmp_path / "run", broken, epochs=1, search={"learningRates": [0.001, 0.5]})
    with pytest.raises(UserError) as raised:
        trained(run)
    assert raised.value.reason is Reason.TRAINING_FAILED
    assert str(raised.value) == (
        "No trial of training.search made a student: of 2, 2 diverged. List lower training.search.learningRates, or"
        " raise training.warmupSteps."
    )
    assert capsys.readouterr().err.count("diverged.\n") == 2


def test_two_processes_search_together(tiny, tmp_path):
    run = searching(tmp_path, tiny, epochs=1, gpusPerNode=2, search={"learningRates": [0.001, 0.01]})
    process = run.start(Stage.TRAIN)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("Trial 2 of 2: ") == 1, said
    search = run.result(Stage.TRAIN).training.search
    assert (search.trained, search.trials[0].loss < search.trials[1].loss) == (2, True)
    assert {path.name for path in run.folder(Stage.TRAIN).glob("search/*/*")} == {"trial.json", "training-log.jsonl"}
