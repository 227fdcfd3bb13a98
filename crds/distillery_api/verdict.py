"""The verdict: what a result table means for a team, in one kind with a sentence, and what to do next."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import LenientModel

SENTENCE_LIMIT = 320
"""Bytes of each sentence, so that the verdict fits the termination message beside the scores."""

Sentence = Annotated[str, Field(max_length=SENTENCE_LIMIT)]


class VerdictKind(StrEnum):
    """What a result table means. The first that holds, in this order, is the verdict."""

    TOO_FEW_ROWS = "TooFewRows"
    """The held-out rows are too few to tell the student from the system that decides."""
    UNREADABLE_ANSWERS = "UnreadableAnswers"
    """No answer can be read in most of the student's replies."""
    CONSTANT_ANSWERS = "ConstantAnswers"
    """The student gives one and the same answer to nearly every row."""
    WORSE_THAN_BASE = "WorseThanBase"
    """The base model scores significantly higher than the student that was made of it."""
    CEILING_OF_TEACHER = "CeilingOfTeacher"
    """The student is as good as its teacher, which is itself no better than a baseline or mostly wrong."""
    NO_BETTER_THAN_BASELINE = "NoBetterThanBaseline"
    """A baseline, which needs no language model, does as well."""
    NO_BETTER_THAN_BASE = "NoBetterThanBase"
    """The base model does as well without any training."""
    AGREEMENT_ONLY = "AgreementOnly"
    """The student has learned to answer as the teacher does; no row has gold, so whether that is right is unknown."""
    BEATS_TEACHER = "BeatsTeacher"
    """The student scores significantly higher than its teacher."""
    WITHIN_NOISE_OF_TEACHER = "WithinNoiseOfTeacher"
    """The held-out rows show no difference between student and teacher."""
    BELOW_TEACHER = "BelowTeacher"
    """The student has learned something and scores significantly lower than its teacher."""


class Remedy(StrEnum):
    """The likely next step."""

    SERVE = "Serve"
    USE_BASELINE = "UseBaseline"
    USE_BASE_MODEL = "UseBaseModel"
    MORE_HELD_OUT_ROWS = "MoreHeldOutRows"
    ADD_GOLD = "AddGold"
    READ_PREDICTIONS = "ReadPredictions"
    BALANCE_ANSWERS = "BalanceAnswers"
    MORE_TIME = "MoreTime"
    MORE_EPOCHS = "MoreEpochs"
    LOWER_LEARNING_RATE = "LowerLearningRate"
    MORE_TRAIN_ROWS = "MoreTrainRows"
    HIGHER_RANK = "HigherRank"
    LARGER_STUDENT = "LargerStudent"
    BETTER_TEACHER = "BetterTeacher"


class Verdict(LenientModel):
    """What the result table means, by paired tests on the same held-out rows."""

    kind: VerdictKind
    """The verdict, as one word."""
    message: Sentence
    """The verdict in a sentence, with the figures that decided."""
    compared_with: Annotated[str, Field(max_length=32)] | None = None
    """The system that decided, as its field in the result table, such as shallow; absent where none did."""
    remedy: Remedy
    """The likely next step, as one word."""
    next_step: Sentence
    """The likely next step in a sentence, with the figures that suggest it."""
