"""What a run's teacher calls will come to, in tokens and money, before the first of them is paid for."""

from __future__ import annotations

from distillery_trainer.estimate.forecast import from_pilot, from_prompts
from distillery_trainer.estimate.prompt_sampling import PromptSampler

__all__ = ["PromptSampler", "from_pilot", "from_prompts"]
