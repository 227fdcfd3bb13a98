"""The stages of a run, in order, and how each of them may end."""

from __future__ import annotations

from enum import StrEnum

from distillery_api.reasons import Reason


class Stage(StrEnum):
    """The stages that run as Jobs, in order."""

    GENERATE = "generate"
    TRAIN = "train"
    EVALUATE = "evaluate"


class ExitCode:
    """How a stage ends, as the Job's podFailurePolicy reads it. Anything else is a crash."""

    DONE = 0
    USER_ERROR = 2
    TRY_LATER = 3
    TERMINATED = 143


FAILURE_REASONS = {
    Stage.GENERATE: Reason.GENERATION_FAILED,
    Stage.TRAIN: Reason.TRAINING_FAILED,
    Stage.EVALUATE: Reason.EVALUATION_FAILED,
}
"""The reason of a stage's failure that has none of its own."""
