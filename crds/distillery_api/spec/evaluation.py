"""The third stage: all systems are evaluated on the held-out rows, and the quality gate decides on the student."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity
from distillery_api.spec.fields import Flag
from distillery_api.spec.stage_options import JobOptions
from distillery_api.spec.teacher import Judge

Share = Annotated[float, Field(ge=0, le=1)]


class AgainstServing(StrEnum):
    """How a student must compare with the one that is served."""

    NOT_WORSE = "NotWorse"
    BETTER = "Better"
    IGNORE = "Ignore"


class Gate(ApiModel):
    """The quality gate: a student that does not meet every bound is not rolled out, and the student that is served
    stays. A changed bound decides anew at once, and runs no stage again."""

    min_score: Share | None = None
    """Lowest score of the student, from 0 to 1: status.evaluation.student.score. Default: none."""
    min_gain_over_base: Share | None = None
    """Least difference between the score of the student and the better one of the base model's two scores, with the
    teacher prompt and with the student prompt, from 0 to 1. Default: none."""
    against_serving: AgainstServing = AgainstServing.NOT_WORSE
    """How the student must compare with the one that is served, on the same held-out rows, where there is another one:
    NotWorse refuses a significantly lower score (p < 0.05), Better requires a significantly higher one, Ignore compares
    nothing. Default: NotWorse."""


class EvaluationOptions(JobOptions):
    """The third stage: teacher, base model, student and baselines are evaluated on the held-out rows. Without resources
    of its own, it has those of training, on the nodes of training. Its image and podTemplate also apply to
    publish, the stage that pushes the student to serving.modelImage and publication.hub, and to verify, the stage
    that asks the served student some of these rows; its resources and node constraints do not: verify runs where
    the server may."""

    judge: Judge | None = None
    """LLM judge that compares answers with the reference answers, for Summarization, Conversation and Text. Default:
    none."""
    learning_curve: Flag = False
    """Set to true to train on a quarter and a half of the train rows as well, each with as many steps as the student,
    and to say from the three scores what twice the rows promise. It happens in this stage, takes about twice the time
    of the training on top, and needs its memory. The student stays the same. Default: false."""
    gate: Annotated[Gate | None, NotIdentity] = None
    """Quality gate: bounds that a student must meet before it is rolled out. Default: none, so that every evaluated
    student is rolled out."""
