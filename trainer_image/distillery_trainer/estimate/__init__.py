"""What a run's teacher calls will come to, in tokens and money, before the first of them is paid for."""

from __future__ import annotations

from distillery_trainer.estimate.expected import Sampler, of, sampled

__all__ = ["Sampler", "of", "sampled"]
