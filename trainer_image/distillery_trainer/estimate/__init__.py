"""What a run's teacher calls will come to, in tokens and money, before the first of them is paid for."""

from __future__ import annotations

from distillery_trainer.estimate.expected import Sampler
from distillery_trainer.estimate.forecast import from_pilot, from_prompts

__all__ = ["Sampler", "from_pilot", "from_prompts"]
