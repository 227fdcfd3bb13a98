"""Logits: what the teacher gave each token of the answer and its likely alternatives, beside the answer itself."""

from __future__ import annotations

import torch
from torch import Tensor

from distillery_trainer.student.objectives.objective import AnswerTokens, Objective
from distillery_trainer.student.objectives.teacher_tokens import TEACHER_IDS, TEACHER_LOGPROBS
from distillery_trainer.student.row_encoding import WEIGHT

_LEAST_REST = 1e-6
"""Probability of all tokens together that the teacher did not state: what it stated is rounded."""


class Logits(Objective):
    """alpha * T^2 * KL(teacher || student) + (1 - alpha) * negative log-likelihood, as Hinton et al. (arXiv 1503.02531,
    section 2) weigh soft and hard targets; T is the temperature. A token for which the teacher's distribution is not
    known counts its negative log-likelihood alone, as validation rows do."""

    def loss(self, tokens: AnswerTokens) -> Tensor:
        """The sum over all tokens, in nats."""
        options = self.wanted.logits
        losses = torch.nn.functional.cross_entropy(tokens.logits, tokens.labels, reduction="none")
        if TEACHER_IDS not in tokens.columns:
            return losses.sum()
        ids, logprobs = tokens.columns[TEACHER_IDS].long(), tokens.columns[TEACHER_LOGPROBS].float()
        known = ids[:, 0] >= 0
        divergence = losses.new_zeros(losses.shape)
        divergence[known] = kl_divergence(tokens.logits[known], ids[known], logprobs[known], options.temperature)
        softened = options.alpha * options.temperature**2 * divergence + (1 - options.alpha) * losses
        losses = torch.where(known, softened, losses)
        weights = tokens.columns.get(WEIGHT)
        return losses.sum() if weights is None else (losses * weights).sum()


def kl_divergence(logits: Tensor, ids: Tensor, logprobs: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of each token, in nats, shape (tokens).

    `logits` are the student's, of shape (tokens, vocabulary); `ids` and `logprobs` say what the teacher gave which
    tokens, of shape (tokens, stated), with ids of -1 where it stated fewer. Both distributions are over the stated
    tokens and, as one more outcome, all others together: so mass that the student gives to others counts, too.
    With a temperature, both are softened over these outcomes.
    """
    missing = ids < 0
    columns = torch.where(missing, ids[:, :1], ids)
    teacher = logprobs.masked_fill(missing, -torch.inf)
    rest = (1 - teacher.exp().sum(-1, keepdim=True)).clamp_min(_LEAST_REST).log()
    teacher = torch.cat([teacher, rest], -1)
    others = logits.scatter(-1, columns, -torch.inf).logsumexp(-1, keepdim=True)
    stated = logits.gather(-1, columns).masked_fill(missing, -torch.inf)
    student = torch.cat([stated, others], -1)
    target = (teacher / temperature).log_softmax(-1)
    predicted = ((student - student.logsumexp(-1, keepdim=True)) / temperature).log_softmax(-1)
    terms = target.exp() * (target - predicted)
    return terms.masked_fill(torch.cat([missing, torch.zeros_like(missing[:, :1])], -1), 0.0).sum(-1)
