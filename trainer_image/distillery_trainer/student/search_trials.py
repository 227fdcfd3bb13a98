"""Which combinations of a search are tried, and which of the students is the best. Everything follows from the manifest
and from what was measured, so that an interrupted search goes on as an uninterrupted one."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from distillery_api.spec import Combination, Training
from distillery_api.stage_result import TrainingFigures
from distillery_trainer.student.checkpoint_choice import figure

Item = TypeVar("Item")
Value = tuple[int, float | None]
"""The number of a list, and a value of it."""


def chosen_combinations(training: Training) -> list[Combination]:
    """The combinations to try, in order.

    Where there are more than trials, each next one is that whose values were tried least so far, and then that whose
    pairs of values were, so that each value is tried about equally often: results depend on one or two of the values,
    whichever they are (Bergstra and Bengio, 2012). Among equals the seed decides.
    """
    if training.search is None:
        return []
    left = sorted(training.search.all_combinations(), key=lambda each: _position(each, training.seed))
    chosen: list[Combination] = []
    values, pairs = Counter[Value](), Counter[tuple[Value, ...]]()
    while len(chosen) < training.search.trial_count:
        following = min(left, key=lambda each: (_count(values, enumerate(each)), _count(pairs, _pairs(each))))
        values.update(enumerate(following))
        pairs.update(_pairs(following))
        left.remove(following)
        chosen.append(following)
    return chosen


def _pairs(combination: Combination) -> Iterator[tuple[Value, ...]]:
    return itertools.combinations(enumerate(combination), 2)


def _count(used: Counter[Item], items: Iterable[Item]) -> int:
    return sum(used[item] for item in items)


def _position(combination: Combination, seed: int) -> bytes:
    """A combination's place in an order by chance, whatever the order of the lists."""
    return hashlib.sha256(f"{seed} {tuple(combination)}".encode()).digest()


def trial_training(training: Training, combination: Combination) -> Training:
    """The training of one student of a search."""
    lora = training.lora.model_copy(update={"rank": combination.rank or training.lora.rank})
    return training.model_copy(
        update={
            "learning_rate": combination.learning_rate or training.learning_rate,
            "epochs": combination.epochs or training.epochs,
            "lora": lora,
            "search": None,
        }
    )


def trial_name(combination: Combination) -> str:
    """The name of a trial's folder, such as `rate-0.001-epochs-3`."""
    values = {"rate": combination.learning_rate, "epochs": combination.epochs, "rank": combination.rank}
    return "-".join(f"{name}-{value:g}" for name, value in values.items() if value is not None)


def best_first(trained: Mapping[Combination, TrainingFigures]) -> list[Combination]:
    """The combinations, that of the best student first: by the figure that chooses checkpoints. Of equally good ones,
    the one that was trained first."""
    by_score = all(each.validation_score is not None for each in trained.values())
    return sorted(trained, key=lambda each: -_figure(trained[each], by_score=by_score))


def _figure(figures: TrainingFigures, *, by_score: bool) -> float:
    if not by_score or figures.validation_score is None:
        return -figures.validation_loss
    return figure(figures.validation_score, figures.validation_loss)


def planned_steps(epochs: Sequence[int], rows: int, batch_size: int) -> list[int]:
    """The optimiser steps of each training, unless it ends sooner."""
    return [each * math.ceil(rows / batch_size) for each in epochs]
