"""The third stage: everybody answers the held-out rows."""

from __future__ import annotations

from distillery_api.spec.stage_options import StageOptions
from distillery_api.spec.teacher import Judge


class EvaluationOptions(StageOptions):
    """The third stage: teacher, base model, student and simple baselines on the same held-out rows."""

    judge: Judge | None = None
    """Another model that compares answers with the known ones, for Conversation and Summarization. Default: none."""
