"""The likely next step after a verdict, from what is at hand: how the training went, what its rows hold, what the
teacher gets wrong. For each verdict a list of possible causes, in order; the first that the figures show is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from distillery_api.evaluation import SMALL_SAMPLE
from distillery_api.spec.durations import parse_duration, write_duration
from distillery_api.spec.fields import MAX_EPOCHS
from distillery_api.stage_result import EpochLosses
from distillery_api.verdict import Remedy, VerdictKind
from distillery_trainer.evaluation.findings import Findings
from distillery_trainer.evaluation.systems import System

ENOUGH_STEPS = 150
"""Optimiser steps below which small students were seen to stay near a constant answer, however good their rows."""
_FALLING = 0.02
"""Relative fall of the validation loss in the last epoch, from which on it counts as still falling."""
_RISING = 0.02
"""Rise of the validation score in the last epoch, from which on it counts as still rising."""
_FEW_ROWS = 1_000
"""Training rows, below which more of them are the first thing to try."""
_RARE_ROWS = 10
_MANY_RARE = 0.2
_DOMINANT = 2 / 3
_HIGH_RANK = 32
_SOME_UNREADABLE = 0.1
_ENOUGH = 0.8
"""Score at which a baseline may do instead of a student."""

Step = tuple[Remedy, str]
Cause = Callable[[Findings], Step | None]


def next_step(kind: VerdictKind, system: System | None, found: Findings) -> Step:
    """The likely next step, as one word and as a sentence. `system` is the one that decided the verdict."""
    if kind is VerdictKind.TOO_FEW_ROWS:
        return _more_held_out_rows(system, found)
    if kind in (VerdictKind.BEATS_TEACHER, VerdictKind.WITHIN_NOISE_OF_TEACHER):
        return Remedy.SERVE, "Serve it. More training gains little; a smaller student may do as well."
    if kind is VerdictKind.CEILING_OF_TEACHER:
        return _baseline_is_enough(found) or _better_teacher(found)
    return _first(_CAUSES[kind], found) or _LAST[kind](found)


def _first(causes: Sequence[Cause], found: Findings) -> Step | None:
    return next((step for cause in causes if (step := cause(found))), None)


# --- the rows and the teacher


def _more_held_out_rows(system: System | None, found: Findings) -> Step:
    wanted = found.against[system].rows_to_tell(found.rows) if system else SMALL_SAMPLE
    rounded = max(SMALL_SAMPLE, math.ceil(wanted / 50) * 50)
    return (
        Remedy.MORE_HELD_OUT_ROWS,
        f"Evaluate on about {rounded:,} held-out rows: give data.test more rows.",
    )


def _better_teacher(found: Findings) -> Step:
    return (
        Remedy.BETTER_TEACHER,
        f"The teacher's score is {found.scores[System.TEACHER]:.3f}: read what it gets wrong in predictions.jsonl."
        " Correct the gold there, state the rules in generation.prompts, or take a stronger teacher.",
    )


def _baseline_is_enough(found: Findings) -> Step | None:
    """Where teacher and student are no better than a baseline that is mostly right."""
    best = found.best_baseline
    if best is None or not found.against[best].is_no_better or found.scores[best] < _ENOUGH:
        return None
    return (
        Remedy.USE_BASELINE,
        f"If a score of {found.scores[best]:.3f} is enough, use the baseline {best}: it needs no language model."
        " Otherwise take a better teacher.",
    )


def _teacher_is_mostly_wrong(found: Findings) -> Step | None:
    score = found.scores.get(System.TEACHER)
    return _better_teacher(found) if score is not None and found.right_or_wrong and score < 0.5 else None


def _teacher_is_below_base(found: Findings) -> Step | None:
    teacher, base = found.scores.get(System.TEACHER), found.best_base
    if teacher is None or base is None or teacher > found.scores[base]:
        return None
    return (
        Remedy.BETTER_TEACHER,
        f"The teacher ({teacher:.3f}) is no better than the base model ({found.scores[base]:.3f}): improve its prompt"
        " in generation.prompts, or take a stronger teacher.",
    )


def _replies_are_unreadable(found: Findings) -> Step | None:
    if found.unreadable <= _SOME_UNREADABLE:
        return None
    return (
        Remedy.READ_PREDICTIONS,
        f"{found.unreadable:.0%} of the student's replies hold no readable answer, and {found.cut_off:.0%} are cut off"
        " at the maximum length: read them in predictions.jsonl.",
    )


def _one_answer_dominates(found: Findings) -> Step | None:
    answers = found.trained_on.answers
    if len(answers) < 2:
        return None
    rows = sum(answers.values())
    answer, count = max(answers.items(), key=lambda item: item[1])
    if count < _DOMINANT * rows:
        return None
    return (
        Remedy.BALANCE_ANSWERS,
        f'{count:,} of {rows:,} training rows have the answer "{answer}": add rows with the other answers, or leave out'
        " some of these.",
    )


def _answers_are_rare(found: Findings) -> Step | None:
    answers = found.trained_on.answers
    rare = [answer for answer, count in answers.items() if count < _RARE_ROWS]
    if len(answers) < 2 or len(rare) < _MANY_RARE * len(answers):
        return None
    rarest = min(rare, key=lambda answer: (answers[answer], answer))
    return (
        Remedy.BALANCE_ANSWERS,
        f"{len(rare)} of {len(answers)} answers have fewer than {_RARE_ROWS} training rows, the rarest"
        f' "{rarest}" {answers[rarest]}: add rows with these answers.',
    )


# --- the training


def _time_was_over(found: Findings) -> Step | None:
    """The training was ended before its last epoch, while the student still gained or had hardly begun."""
    trained = found.trained_on
    if trained.planned_steps is None or not trained.steps or trained.max_duration is None:
        return None
    still_gained = not trained.losses or _best_epoch(trained.losses) == len(trained.losses) - 1
    if trained.steps >= ENOUGH_STEPS and not still_gained:
        return None
    wanted = write_duration(parse_duration(trained.max_duration) * (trained.planned_steps / trained.steps))
    # The trials of a search share the time, of which this one had the rest.
    raised = "raise it, try fewer values in training.search" if trained.searched else f"raise it to {wanted}"
    return (
        Remedy.MORE_TIME,
        f"training.maxDuration ({trained.max_duration}) ended the training after {trained.steps:,} of"
        f" {trained.planned_steps:,} steps: {raised}, or train on a faster device.",
    )


def _took_too_few_steps(found: Findings) -> Step | None:
    trained = found.trained_on
    if trained.steps is None or trained.steps >= ENOUGH_STEPS:
        return None
    epochs = math.ceil(trained.epochs * ENOUGH_STEPS / max(1, trained.steps))
    if _was_tried(found, "epochs", epochs):
        return None
    more = f"{_more_epochs(found, epochs)}, or " if epochs <= MAX_EPOCHS else ""
    return (
        Remedy.MORE_EPOCHS,
        f"The training took {trained.steps:,} {'step' if trained.steps == 1 else 'steps'}, and small students need"
        f" {ENOUGH_STEPS} or more: {more}lower training.batchSize.",
    )


def _loss_still_falls(found: Findings) -> Step | None:
    losses, epochs = found.trained_on.losses, min(MAX_EPOCHS, 2 * found.trained_on.epochs)
    if epochs == found.trained_on.epochs or len(losses) < 2 or _was_tried(found, "epochs", epochs):
        return None
    gain = _gain_of_last_epoch(losses)
    return (Remedy.MORE_EPOCHS, f"{gain}: {_more_epochs(found, epochs)}.") if gain else None


def _gain_of_last_epoch(losses: Sequence[EpochLosses]) -> str:
    """What the last epoch gained on the validation rows, by their score where it is known; empty for nothing."""
    *_, before, last = losses
    known = _known_scores(losses)
    if known:
        gains = known[-1] - max(known[:-1]) >= _RISING
        return f"The validation score still rose in the last epoch, to {known[-1]:.3f}" if gains else ""
    lowest = min(each.validation for each in losses[:-1])
    falls = last.validation < lowest and before.validation - last.validation >= _FALLING * before.validation
    figures = f"from {before.validation:.3f} to {last.validation:.3f}"
    return f"The validation loss still fell in the last epoch, {figures}" if falls else ""


def _known_scores(losses: Sequence[EpochLosses]) -> list[float]:
    """The validation scores of all epochs; none where one is not known."""
    known = [each.score for each in losses if each.score is not None]
    return known if len(known) == len(losses) else []


def _best_epoch(losses: Sequence[EpochLosses]) -> int:
    """The epoch, from 0, whose checkpoint is the student."""
    known = _known_scores(losses) or [0.0] * len(losses)
    return max(range(len(losses)), key=lambda epoch: (known[epoch], -losses[epoch].validation))


def _one_epoch_only(found: Findings) -> Step | None:
    trained = found.trained_on
    if trained.epochs > 1 or trained.steps is None or _was_tried(found, "epochs", 3):
        return None
    return Remedy.MORE_EPOCHS, f"The student saw each row once: {_more_epochs(found, 3)}."


def _learns_nothing(found: Findings) -> Step | None:
    """The loss does not even fall on the rows that are trained on."""
    losses, tried = found.trained_on.losses, found.trained_on.searched.get("learningRates", ())
    if len(losses) < 2 or losses[-1].train < losses[0].train:
        return None
    if tried and min(tried) < found.trained_on.learning_rate:
        return None
    return (
        Remedy.LOWER_LEARNING_RATE,
        f"The loss on the training rows does not fall ({losses[0].train:.3f} in the first epoch, {losses[-1].train:.3f}"
        f" in the last): {_lower_rate(found)}.",
    )


def _curve_promises_more(found: Findings) -> Step | None:
    curve = found.trained_on.learning_curve
    if curve is None or not curve.promises_more:
        return None
    return Remedy.MORE_TRAIN_ROWS, f"Add rows: {curve.sentence()}."


def _curve_is_flat(found: Findings) -> bool:
    curve = found.trained_on.learning_curve
    return curve is not None and curve.is_flat


def _learns_by_heart(found: Findings) -> Step | None:
    losses = found.trained_on.losses
    if len(losses) < 2 or _curve_is_flat(found):
        return None
    best = _best_epoch(losses)
    rises = losses[-1].validation > losses[best].validation
    if not rises or losses[-1].train >= losses[best].train:
        return None
    return (
        Remedy.MORE_TRAIN_ROWS,
        f"After epoch {best + 1} of {len(losses)} the validation loss rises ({losses[best].validation:.3f} to"
        f" {losses[-1].validation:.3f}) while that of the training rows falls: the student learns its"
        f" {found.trained_on.rows:,} rows by heart. Add rows.",
    )


def _rows_are_few(found: Findings) -> Step | None:
    rows = found.trained_on.rows
    if rows >= _FEW_ROWS or _curve_is_flat(found):
        return None
    return Remedy.MORE_TRAIN_ROWS, f"The student learned from {rows:,} rows: try {2 * rows:,} before anything else."


def _higher_rank(found: Findings) -> Step | None:
    rank = found.trained_on.rank
    if rank is None or rank >= _HIGH_RANK or _was_tried(found, "ranks", 2 * rank):
        return None
    wanted = _setting(found, "lora.rank", "ranks", 2 * rank, rank)
    return Remedy.HIGHER_RANK, f"{wanted[0].upper()}{wanted[1:]}, or take a larger base model."


def _was_tried(found: Findings, searched: str, wanted: int) -> bool:
    """Whether a search had a value as large as that in its list, and another one was better."""
    return max(found.trained_on.searched.get(searched, ()), default=0) >= wanted


def _more_epochs(found: Findings, epochs: int) -> str:
    return _setting(found, "epochs", "epochs", epochs, found.trained_on.epochs)


def _lower_rate(found: Findings) -> str:
    rate = found.trained_on.learning_rate
    if "learningRates" in found.trained_on.searched:
        return f"add {rate / 3:.2g} to training.search.learningRates, of which {rate:g} was the best"
    return f"lower training.learningRate from {rate:g} to {rate / 3:.2g}"


def _setting(found: Findings, field: str, searched: str, wanted: int, now: int) -> str:
    """What to write in a manifest; where a search has tried several values, one more of them."""
    if searched in found.trained_on.searched:
        return f"add {wanted} to training.search.{searched}, of which {now} was the best"
    return f"set training.{field} to {wanted} instead of {now}"


# --- what remains


def _larger_student(_: Findings) -> Step:
    return Remedy.LARGER_STUDENT, "Rows and training show nothing that is amiss: take a larger base model."


def _slower(found: Findings) -> Step:
    lower = _lower_rate(found)
    return (
        Remedy.LOWER_LEARNING_RATE,
        f"{lower[0].upper()}{lower[1:]}, and compare replies of base model and student in predictions.jsonl.",
    )


def _read_predictions(found: Findings) -> Step:
    return (
        Remedy.READ_PREDICTIONS,
        f"Read the student's replies in predictions.jsonl: {found.cut_off:.0%} are cut off at the maximum length, and"
        " the others have the wrong form.",
    )


def _base_model_suffices(found: Findings) -> Step | None:
    teacher = found.against.get(System.TEACHER)
    if teacher is None or teacher.is_worse or not teacher.is_alike:
        return None
    prompt = " with the teacher prompt" if found.best_base is System.BASE_TEACHER_PROMPT else ""
    return Remedy.USE_BASE_MODEL, f"The base model{prompt} is as good as the teacher already: it needs no distillation."


def _add_gold(_: Findings) -> Step:
    return (
        Remedy.ADD_GOLD,
        f"Give gold to some {SMALL_SAMPLE} held-out rows, which tells how often teacher and student are right.",
    )


_OF_THE_TRAINING = (_time_was_over, _took_too_few_steps, _learns_nothing, _loss_still_falls, _one_epoch_only)
_OF_THE_AMOUNT = (_curve_promises_more, _learns_by_heart, _answers_are_rare, _rows_are_few, _higher_rank)
_LEARNS_TOO_LITTLE = (_teacher_is_mostly_wrong, _replies_are_unreadable, *_OF_THE_TRAINING, *_OF_THE_AMOUNT)

_CAUSES: dict[VerdictKind, Sequence[Cause]] = {
    VerdictKind.UNREADABLE_ANSWERS: _OF_THE_TRAINING,
    VerdictKind.CONSTANT_ANSWERS: (_one_answer_dominates, _teacher_is_mostly_wrong, *_OF_THE_TRAINING, *_OF_THE_AMOUNT),
    VerdictKind.WORSE_THAN_BASE: (_teacher_is_below_base, _replies_are_unreadable, *_OF_THE_TRAINING),
    VerdictKind.NO_BETTER_THAN_BASELINE: _LEARNS_TOO_LITTLE,
    VerdictKind.NO_BETTER_THAN_BASE: (_base_model_suffices, *_LEARNS_TOO_LITTLE),
    VerdictKind.AGREEMENT_ONLY: _OF_THE_TRAINING,
    VerdictKind.BELOW_TEACHER: _LEARNS_TOO_LITTLE,
}
_LAST: dict[VerdictKind, Callable[[Findings], Step]] = {
    VerdictKind.UNREADABLE_ANSWERS: _read_predictions,
    VerdictKind.CONSTANT_ANSWERS: _larger_student,
    VerdictKind.WORSE_THAN_BASE: _slower,
    VerdictKind.NO_BETTER_THAN_BASELINE: _larger_student,
    VerdictKind.NO_BETTER_THAN_BASE: _larger_student,
    VerdictKind.AGREEMENT_ONLY: _add_gold,
    VerdictKind.BELOW_TEACHER: _larger_student,
}
