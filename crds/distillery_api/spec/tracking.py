"""Experiment trackers, to which the figures of a run are reported as it goes on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule, matches
from distillery_api.spec.fields import SecretReference


class Tracker(StrEnum):
    """Experiment trackers. Their libraries are optional, and have to be in the trainer's image."""

    MLFLOW = "MLflow"
    """One run for the Distillation, and in it one for each stage. Wants MLFLOW_TRACKING_URI."""
    TENSOR_BOARD = "TensorBoard"
    """Event files in the folder tensorboard of the train stage."""
    WANDB = "WandB"
    """Weights & Biases, for the training. Wants WANDB_API_KEY."""
    TRACKIO = "Trackio"
    """Trackio, for the training; its database is in the folder trackio of the train stage."""


ExperimentName = Annotated[
    str,
    Field(max_length=200),
    matches("^[-._a-zA-Z0-9]([-._ a-zA-Z0-9]*[-._a-zA-Z0-9])?$", "not a name; use letters, digits, spaces, - _ and ."),
]


class Tracking(ApiModel):
    """Experiment trackers, to which the figures of a run are reported as it goes on. A tracker that is slow or cannot
    be reached stops nothing."""

    report_to: Annotated[tuple[Tracker, ...], Field(min_length=1, max_length=4)]
    """MLflow, TensorBoard, WandB or Trackio, or several of them."""
    experiment: ExperimentName | None = None
    """Experiment of MLflow, and project of WandB and Trackio. Default: the name of the Distillation."""
    registered_model: ExperimentName | None = None
    """Model in MLflow's registry of which each evaluated student becomes a version, with one alias for the newest and
    one for the student that is served and verified. Default: none is registered."""
    credentials: SecretReference | None = None
    """Secret with the settings and keys of the trackers, as variables of their own names: MLFLOW_TRACKING_URI,
    MLFLOW_TRACKING_TOKEN, WANDB_API_KEY, … Default: none; a local run also takes them from its environment."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.registeredModel) || self.reportTo.exists(t, t == 'MLflow')",
            "registeredModel is in MLflow's registry; add MLflow to reportTo, or remove it",
            lambda tracking: tracking.registered_model is None or Tracker.MLFLOW in tracking.report_to,
        ),
    )
