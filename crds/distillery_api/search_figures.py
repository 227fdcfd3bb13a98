"""What a search for training settings has tried, as its stage reports it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import LenientModel


class TrialFailure(StrEnum):
    """Why a trial made no student."""

    DIVERGED = "Diverged"
    OUT_OF_MEMORY = "OutOfMemory"


class Trial(LenientModel):
    """One student of a search. Values that were not searched are absent: all trials share them."""

    learning_rate: float | None = None
    """Its peak learning rate."""
    epochs: int | None = None
    """Its number of epochs."""
    rank: int | None = None
    """Rank of its adapters."""
    score: float | None = None
    """The task's score of its best checkpoint on validation rows; absent where answers are long."""
    loss: float | None = None
    """Loss of its best checkpoint on the validation rows."""
    seconds: float | None = None
    """Wall-clock time of its training, in seconds; after an interruption, of what was left."""
    is_over_time: bool | None = None
    """True where `maxDuration` ended it before its last step."""
    failure: TrialFailure | None = None
    """Why it made no student: Diverged or OutOfMemory."""

    def values(self) -> str:
        """Its values for people, such as `learning rate 0.001, 3 epochs`."""
        parts = (
            None if self.learning_rate is None else f"learning rate {self.learning_rate:g}",
            None if self.epochs is None else f"{self.epochs} {'epoch' if self.epochs == 1 else 'epochs'}",
            None if self.rank is None else f"rank {self.rank}",
        )
        return ", ".join(part for part in parts if part is not None)


class SearchFigures(LenientModel):
    """What a search has tried."""

    combinations: int
    """Number of combinations that the lists allow."""
    trained: int
    """Number of trials that made a student."""
    failed: int = 0
    """Number of trials that made none."""
    left_out: int = 0
    """Number of trials that were not begun, since `maxDuration` was over."""
    seconds: float
    """Wall-clock time of all trials, in seconds."""
    trials: Annotated[tuple[Trial, ...], Field(max_length=32)] = ()
    """The trials, the best first, which is the student, and failed ones last; only the first ones where all are too
    many for the report of the stage."""

    def sentence(self) -> str:
        """What was found, for people, such as `best of 6 trials: learning rate 0.001, 3 epochs`."""
        tried = self.trained + self.failed
        failed = f", {self.failed} of which made no student" if self.failed else ""
        found = f": {self.trials[0].values()}" if self.trials else ""
        if self.left_out:
            return f"best of {tried} of {tried + self.left_out} trials, until maxDuration was over{failed}{found}"
        return f"best of {tried} trials{failed}{found}"

    def first(self, number: int) -> SearchFigures:
        """The figures with so many trials at most."""
        return self.model_copy(update={"trials": self.trials[:number]})
