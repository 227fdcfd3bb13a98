"""The moment after a step of a training, to save a checkpoint of it later, once the next step was interrupted: weights
and optimiser are still as they were, and this is what is not."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import Trainer


@dataclass(frozen=True)
class CompletedStep:
    """All random states, and the sum of the losses since they were last logged."""

    losses: torch.Tensor
    python: tuple[Any, ...]
    numpy: dict[str, Any]
    cpu: torch.Tensor
    gpus: list[torch.Tensor]

    @classmethod
    def of(cls, trainer: Trainer) -> CompletedStep:
        """The present moment of a training."""
        return cls(
            losses=trainer._tr_loss.clone(),
            python=random.getstate(),
            numpy=np.random.get_state(legacy=False),
            cpu=torch.get_rng_state(),
            gpus=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        )

    def restore(self, trainer: Trainer) -> None:
        """Make it the present moment again."""
        trainer._tr_loss.copy_(self.losses)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.gpus:
            torch.cuda.set_rng_state_all(self.gpus)
