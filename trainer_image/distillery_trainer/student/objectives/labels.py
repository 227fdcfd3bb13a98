"""Labels: the negative log-likelihood of the teacher's answers."""

from __future__ import annotations

import torch
from torch import Tensor

from distillery_trainer.student.objectives.objective import AnswerTokens, Objective
from distillery_trainer.student.row_encoding import WEIGHT


class Labels(Objective):
    """The tokens of the answers, each with its weight where rows have any."""

    def loss(self, tokens: AnswerTokens) -> Tensor:
        """The sum of the weighted negative log-likelihoods, in nats."""
        weights = tokens.columns.get(WEIGHT)
        if weights is None:
            return torch.nn.functional.cross_entropy(tokens.logits, tokens.labels, reduction="sum")
        losses = torch.nn.functional.cross_entropy(tokens.logits, tokens.labels, reduction="none")
        return (losses * weights).sum()
