"""What a training makes small: the loss of the answers, and what may be learned beside them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule


class ObjectiveKind(StrEnum):
    """What a student is compared with."""

    LABELS = "Labels"
    LOGITS = "Logits"
    PREFERENCE = "Preference"


class SampleUse(StrEnum):
    """What a student learns of several samples of a row."""

    MAJORITY = "Majority"
    WEIGHTED = "Weighted"
    SOFT = "Soft"


class RationaleUse(StrEnum):
    """What a student learns of the teacher's reasoning."""

    NONE = "None"
    AUXILIARY = "Auxiliary"


class Logits(ApiModel):
    """How much the student learns of the teacher's log-probabilities."""

    top_logprobs: Annotated[int, Field(strict=True, ge=1, le=20)] = 20
    """Most likely tokens that the teacher states for each token of an answer. Default: 20, the most that the protocol
    allows."""
    alpha: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    """Weight of the divergence from the teacher's probabilities, from 0 to 1; the answer itself weighs the rest.
    Default: 0.5."""
    temperature: Annotated[float, Field(strict=True, gt=0, le=10)] = 1
    """Softens the probabilities of both before they are compared, above 0 and up to 10. Default: 1."""


class Preference(ApiModel):
    """How preferences are learned."""

    beta: Annotated[float, Field(strict=True, gt=0, le=10)] = 0.1
    """How close the student stays to what it was before; a lower value lets it go further. Default: 0.1."""


class TrainingObjective(ApiModel):
    """What the student learns from each row."""

    kind: ObjectiveKind = ObjectiveKind.LABELS
    """What the student is compared with. Labels: the teacher's answers, token by token. Logits: also the probabilities
    that the teacher gave the tokens of its answer and likely others; its server has to state them, and the student to
    have its vocabulary. Preference: after the answers, it learns to prefer right ones to rejected ones (DPO, arXiv
    2305.18290): to those of samples that disagree with the kept answer, and of rows that
    generation.filters.disagreesWithGold rejects. Default: Labels."""
    logits: Logits = Logits()
    """Settings of kind Logits."""
    preference: Preference = Preference()
    """Settings of kind Preference."""
    samples: SampleUse = SampleUse.MAJORITY
    """What it learns where generation.samples is more than 1. Majority: the answer that most samples agree on.
    Weighted: that answer, with the share of the samples that agree on it as the weight of the row. Soft: every answer
    of the row, each weighted by its share of the readable samples. Default: Majority."""
    rationales: RationaleUse = RationaleUse.NONE
    """What it learns of the teacher's reasoning. Auxiliary: the reasoning as a second task under a prompt of its own
    (distilling step by step, arXiv 2305.02301), so that the student still answers at once. It needs
    generation.chainOfThought or a teacher with reasoning. Default: None."""
    rationale_weight: Annotated[float, Field(strict=True, gt=0, le=10)] | None = None
    """Weight of the second task beside the first one, of 1. Only with rationales Auxiliary. Default: 0.5."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.rationaleWeight) || self.rationales == 'Auxiliary'",
            "rationaleWeight is that of the second task; set rationales to Auxiliary, or remove it",
            lambda objective: objective.rationale_weight is None or objective.rationales is RationaleUse.AUXILIARY,
        ),
    )
