"""The stages of a run, in order, and how each of them may end."""

from __future__ import annotations

from enum import StrEnum

from distillery_api.reasons import Reason


class Stage(StrEnum):
    """The stages that run as Jobs, in order. Code that treats all of them alike takes the order from here."""

    GENERATE = "generate"
    TRAIN = "train"
    EVALUATE = "evaluate"

    @property
    def number(self) -> int:
        """The stage's number in the order, from 1."""
        return tuple(Stage).index(self) + 1

    @property
    def earlier(self) -> tuple[Stage, ...]:
        """The stages before it."""
        return tuple(Stage)[: self.number - 1]

    @property
    def is_last(self) -> bool:
        """Whether no stage follows."""
        return self.number == len(Stage)


def stages_until(last: Stage | None) -> tuple[Stage, ...]:
    """All stages up to and including `last`; all of them for None."""
    return tuple(Stage) if last is None else (*last.earlier, last)


class ExitCode:
    """How a stage ends, as the Job's podFailurePolicy reads it. Anything else is a crash."""

    DONE = 0
    USER_ERROR = 2
    TRY_LATER = 3
    TERMINATED = 143


RUNNING_REASONS = {
    Stage.GENERATE: Reason.GENERATING_DATA,
    Stage.TRAIN: Reason.TRAINING,
    Stage.EVALUATE: Reason.EVALUATING,
}
"""The reason to give while a stage runs."""

FAILURE_REASONS = {
    Stage.GENERATE: Reason.GENERATION_FAILED,
    Stage.TRAIN: Reason.TRAINING_FAILED,
    Stage.EVALUATE: Reason.EVALUATION_FAILED,
}
"""The reason of a stage's failure that has none of its own."""
