"""What a training makes small: the loss of the answers, and what may be learned beside them."""

from __future__ import annotations

from enum import StrEnum

from distillery_api.base import ApiModel


class ObjectiveKind(StrEnum):
    """What a student is compared with."""

    LABELS = "Labels"


class SampleUse(StrEnum):
    """What a student learns of several samples of a row."""

    MAJORITY = "Majority"
    WEIGHTED = "Weighted"
    SOFT = "Soft"


class TrainingObjective(ApiModel):
    """What the student learns from each row."""

    kind: ObjectiveKind = ObjectiveKind.LABELS
    """What the student is compared with. Labels: the teacher's answers, token by token. Default: Labels."""
    samples: SampleUse = SampleUse.MAJORITY
    """What it learns where generation.samples is more than 1. Majority: the answer that most samples agree on.
    Weighted: that answer, with the share of the samples that agree on it as the weight of the row. Soft: every answer
    of the row, each weighted by its share of the readable samples. Default: Majority."""
