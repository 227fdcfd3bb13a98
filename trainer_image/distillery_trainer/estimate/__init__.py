"""The tokens and the cost that a run is expected to use, estimated before the first request.

What was really used is counted in chat/; the pilot's requests are sent in generation/."""

from __future__ import annotations

from distillery_trainer.estimate.forecast import from_pilot, from_prompts
from distillery_trainer.estimate.prompt_sampling import PromptSampler

__all__ = ["PromptSampler", "from_pilot", "from_prompts"]
