"""Which checkpoint becomes the student, and when further epochs are given up."""

from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState

from distillery_api.stage_result import TrainingSettings
from distillery_trainer.student.checkpoint_choice import figure, gains_nothing, measured, was_chosen_by_loss
from distillery_trainer.student.training_monitor import TrainingMonitor

SETTINGS = TrainingSettings(epochs=30, epochs_without_gain=3, batch_size=4, learning_rate=0.001)


def state(step, best, *, every=25, **logged):
    """A training after so many steps, with an evaluation every so often and its best one at a step."""
    history = [{"step": each, "eval_loss": 0.5, **logged} for each in range(every, step + 1, every)]
    losses = [{"step": each, "loss": 0.4} for each in range(10, step + 1, 10)]
    return TrainerState(global_step=step, best_global_step=best, log_history=losses + history)


@pytest.mark.parametrize(
    ("step", "best", "ends"),
    [
        (150, 75, True),
        (150, 100, False),
        (150, 150, False),
        (125, 25, False),  # small students need 150 steps
        (200, 125, True),
    ],
)
def test_training_ends_after_three_epochs_without_gain_and_150_steps(step, best, ends):
    assert gains_nothing(state(step, best), SETTINGS) is ends


def test_an_evaluation_that_a_resumed_training_repeats_counts_once():
    repeated = state(175, 125)
    repeated.log_history += [{"step": 150, "eval_loss": 0.6}, {"step": 175, "eval_loss": 0.6}]
    assert not gains_nothing(repeated, SETTINGS)


def test_a_number_of_epochs_from_the_manifest_is_trained_to_its_end():
    given = TrainingSettings(epochs=30, batch_size=4, learning_rate=0.001)
    assert not gains_nothing(state(700, 25), given)


def test_a_better_score_wins_and_the_loss_decides_between_alike_ones():
    best = max([(0.90, 0.1), (0.95, 0.7), (0.95, 0.5), (0.94, 0.01)], key=lambda each: figure(*each))
    assert best == (0.95, 0.5)
    assert figure(0.91, 100.0) > figure(0.90, 0.0)


def test_a_training_that_began_with_the_loss_goes_on_with_it():
    assert was_chosen_by_loss(state(50, 25))
    assert not was_chosen_by_loss(state(50, 25, eval_figure=0.9))
    assert not was_chosen_by_loss(TrainerState())


def test_what_was_measured_after_a_step():
    trained = state(50, 25)
    trained.log_history.append({"step": 50, "eval_loss": 0.3, "eval_score": 0.75})
    assert (measured(trained, 50, "eval_loss"), measured(trained, 50, "eval_score")) == (0.3, 0.75)
    assert measured(trained, 25, "eval_score") is None


@pytest.mark.parametrize(("best", "stops"), [(75, True), (100, False)])
def test_a_training_ends_with_the_checkpoint_after_which_nothing_is_gained(tmp_path, best, stops):
    (tmp_path / "checkpoint-150").mkdir()
    monitor = TrainingMonitor(lambda done, total: None, settings=SETTINGS)
    control = TrainerControl()
    monitor.on_save(SimpleNamespace(output_dir=str(tmp_path)), state(150, best), control)
    assert (control.should_training_stop, monitor.stop_requested) == (stops, False)
    assert (tmp_path / "checkpoint-150/complete.json").exists()
