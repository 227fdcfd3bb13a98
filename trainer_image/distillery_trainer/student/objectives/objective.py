"""What every objective says: the loss of the answers' tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from distillery_api.spec import TrainingObjective


@dataclass(frozen=True)
class AnswerTokens:
    """What the student predicts for the tokens of the answers of a micro-batch, one after the other."""

    logits: Tensor
    """Shape (tokens, vocabulary), in float32."""
    labels: Tensor
    """Ids of the tokens, shape (tokens)."""
    columns: Mapping[str, Tensor]
    """The columns of the rows by name, each of shape (tokens, ...); empty where rows have none."""


class Objective(ABC):
    """What a training makes small."""

    def __init__(self, wanted: TrainingObjective) -> None:
        self.wanted = wanted

    @abstractmethod
    def loss(self, tokens: AnswerTokens) -> Tensor:
        """The sum of the losses of all tokens, a scalar; the trainer divides it by the number of tokens of the rows'
        own answers in the whole batch."""
