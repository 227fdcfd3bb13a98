"""Which checkpoint becomes the student, and when further epochs are given up: both by one figure, which is measured on
the validation rows after each epoch. Everything is read from the trainer's own state, which its checkpoints hold, so
that a resumed training decides as an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel, TrainerState

from distillery_api.stage_result import TrainingSettings
from distillery_trainer.student.chosen_settings import FEWEST_STEPS

ScoreModel = Callable[[PreTrainedModel], float]
"""The task's score of a model's answers to validation rows, from 0 to 1."""

LOSS, SCORE, FIGURE = "eval_loss", "eval_score", "eval_figure"
"""Names of what is measured, as the trainer logs them."""
_TIE = 0.001
"""Scores that differ by less are alike, and the loss decides."""


def figure(score: float, loss: float) -> float:
    """What the best checkpoint has most of: the score, and among alike scores a low loss."""
    return score + _TIE / (1 + loss)


def was_chosen_by_loss(state: TrainerState) -> bool:
    """Whether an interrupted training has compared checkpoints by their loss, and so must go on with that."""
    return any(LOSS in entry and FIGURE not in entry for entry in state.log_history)


def gains_nothing(state: TrainerState, settings: TrainingSettings) -> bool:
    """Whether the last epochs gained nothing, so that no further one is trained."""
    if settings.epochs_without_gain is None or state.global_step < FEWEST_STEPS:
        return False
    best = state.best_global_step or 0
    since_best = {entry["step"] for entry in state.log_history if LOSS in entry and entry["step"] > best}
    return len(since_best) >= settings.epochs_without_gain


def at_end_of_epoch(state: TrainerState) -> bool:
    """Whether the last step was the last one of its epoch."""
    return float(state.epoch or 0.0).is_integer()


def owes_evaluation(state: TrainerState, *, over_time: bool) -> bool:
    """Whether a training was interrupted before the evaluation that was due: after an epoch, or once its time was
    over."""
    return (at_end_of_epoch(state) or over_time) and measured(state, state.global_step, LOSS) is None


def measured(state: TrainerState, step: int, name: str) -> float | None:
    """What was measured after a step; None where it was not."""
    found = (entry[name] for entry in reversed(state.log_history) if entry["step"] == step and name in entry)
    return next(found, None)
