"""The stages of a run, in order, and how each of them may end."""

from __future__ import annotations

from enum import StrEnum

from distillery_api.reasons import Reason


class Stage(StrEnum):
    """The stages that run as Jobs, in order. Code that treats all of them alike takes the order from here."""

    GENERATE = "generate"
    TRAIN = "train"
    EVALUATE = "evaluate"
    PUBLISH = "publish"
    VERIFY = "verify"

    @property
    def number(self) -> int:
        """The stage's number in the order, from 1."""
        return tuple(Stage).index(self) + 1

    @property
    def earlier(self) -> tuple[Stage, ...]:
        """The stages before it."""
        return tuple(Stage)[: self.number - 1]


def stages_until(last: Stage | None) -> tuple[Stage, ...]:
    """The stages of a run up to and including `last`; for None, up to evaluate, the last that needs no cluster."""
    last = last or Stage.EVALUATE
    return (*last.earlier, last)


SPEC_SECTIONS = {
    Stage.GENERATE: "generation",
    Stage.TRAIN: "training",
    Stage.EVALUATE: "evaluation",
    Stage.PUBLISH: "evaluation",
    Stage.VERIFY: "evaluation",
}
"""The part of the spec that says how each stage's Job runs."""


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
    Stage.PUBLISH: Reason.PUBLISHING,
    Stage.VERIFY: Reason.VERIFYING,
}
"""The reason to give while a stage runs."""

FAILURE_REASONS = {
    Stage.GENERATE: Reason.GENERATION_FAILED,
    Stage.TRAIN: Reason.TRAINING_FAILED,
    Stage.EVALUATE: Reason.EVALUATION_FAILED,
    Stage.PUBLISH: Reason.PUBLISH_FAILED,
    Stage.VERIFY: Reason.VERIFICATION_FAILED,
}
"""The reason of a stage's failure that has none of its own."""
