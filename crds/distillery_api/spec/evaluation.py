"""The third stage: everybody answers the held-out rows."""

from __future__ import annotations

from distillery_api.spec.stage_options import StageOptions


class EvaluationOptions(StageOptions):
    """The third stage: teacher, base model, student and simple baselines on the same held-out rows."""
