"""What a training is done with: what the manifest says, and where it says nothing, what is known to work.

With few rows, small students need steps more than anything else: 40 to 100 leave them at one answer for every row, 150
to 600 suffice. A small batch makes more steps of the same rows. The learning rate falls with the size of the model and
is ten times higher for LoRA than for all weights ("LoRA Without Regret", Schulman et al., 2025). Everything is decided
from what is known before the training, so that an interrupted one continues with the same values.
"""

from __future__ import annotations

import math

from distillery_api.spec import Training, TrainingPreset
from distillery_api.spec.training import MAX_CHOSEN_BATCH_SIZE
from distillery_api.stage_result import TrainingSettings

STEPS = 200
"""Optimiser steps that the chosen number of epochs makes with few rows."""
FEWEST_STEPS = 150
"""Steps before which no training ends early."""
_MOST_STEPS = 10_000
"""Steps beyond which no second epoch is chosen."""
_EPOCHS = (3, 30)
_EPOCHS_WITHOUT_GAIN = 3
_BATCH_SIZES = ((64, 2), (500, 4), (5_000, 8))
"""Number of train rows below which a batch size is chosen."""
_ADAPTER_LEARNING_RATES = ((300_000_000, 1e-3), (1_000_000_000, 5e-4), (10_000_000_000, 2e-4), (math.inf, 1e-4))
"""Number of the model's parameters below which a learning rate is chosen."""
_ADAPTERS_OVER_FULL = 10


def chosen_settings(training: Training, rows: int, parameters: int) -> TrainingSettings:
    """The settings for so many train rows, and a model of so many parameters."""
    given = training.with_preset
    batch_size = chosen_batch_size(training, rows)
    steps_per_epoch = math.ceil(rows / batch_size)
    epochs = given.epochs or _epochs(steps_per_epoch)
    adapters = given.method.trains_adapters
    return TrainingSettings(
        method=given.method,
        epochs=epochs,
        epochs_without_gain=given.epochs_without_gain or (None if given.epochs else _EPOCHS_WITHOUT_GAIN),
        batch_size=batch_size,
        learning_rate=given.learning_rate or _learning_rate(parameters, adapters=adapters),
        rank=given.adapter_rank if adapters else None,
        alpha=given.adapter_alpha if adapters else None,
    )


def chosen_batch_size(training: Training, rows: int) -> int:
    """The training batch size for so many train rows."""
    chosen = next((size for fewer_than, size in _BATCH_SIZES if rows < fewer_than), MAX_CHOSEN_BATCH_SIZE)
    return training.with_preset.batch_size or chosen


def as_trained(training: Training, settings: TrainingSettings | None) -> Training:
    """A training with the settings of another one in place of what is left out; of an earlier release, which did not
    say, they were fixed."""
    if settings is None:
        return training.model_copy(update={"preset": TrainingPreset.AZURE}).with_preset
    lora = training.lora.model_copy(update={"rank": settings.rank, "alpha": settings.alpha})
    return training.model_copy(
        update={
            "epochs": settings.epochs,
            "epochs_without_gain": settings.epochs_without_gain,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "lora": lora,
            "search": None,
        }
    )


def explanation(training: Training, settings: TrainingSettings, rows: int, parameters: int) -> str:
    """One sentence: the settings, and what they were chosen for."""
    given = training.with_preset
    chosen = [
        name
        for name, value in (
            ("epochs", given.epochs),
            ("batchSize", given.batch_size),
            ("learningRate", given.learning_rate),
        )
        if value is None
    ]
    reason = f"; chosen for {rows:,} rows and {parameters / 1e6:,.0f} million parameters: {', '.join(chosen)}"
    return f"Training: {settings.sentence()}{reason if chosen else ''}.{_too_large(settings, rows)}"


def _too_large(settings: TrainingSettings, rows: int) -> str:
    """What follows from a training batch size above the number of rows."""
    if settings.batch_size <= rows:
        return ""
    size = chosen_batch_size(Training(), rows)
    return (
        f" training.batchSize is larger than the data: each epoch is a single step of all {rows:,} rows; a size of"
        f" {size} makes {math.ceil(rows / size):,} steps of them."
    )


def _epochs(steps_per_epoch: int) -> int:
    fewest, most = _EPOCHS
    wanted = max(fewest, min(most, math.ceil(STEPS / steps_per_epoch)))
    return max(1, min(wanted, _MOST_STEPS // steps_per_epoch))


def _learning_rate(parameters: int, *, adapters: bool) -> float:
    rate = next(rate for fewer_than, rate in _ADAPTER_LEARNING_RATES if parameters < fewer_than)
    return rate if adapters else rate / _ADAPTERS_OVER_FULL
