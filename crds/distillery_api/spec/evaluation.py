"""The third stage: all systems are evaluated on the held-out rows."""

from __future__ import annotations

from distillery_api.spec.stage_options import StageOptions
from distillery_api.spec.teacher import Judge


class EvaluationOptions(StageOptions):
    """The third stage: teacher, base model, student and baselines are evaluated on the held-out rows. Without resources
    of its own, it has those of training, on the nodes of training. Its image and podTemplate also apply to verify, the
    stage that asks the served student some of these rows; its resources and node constraints do not: verify runs where
    the server may."""

    judge: Judge | None = None
    """LLM judge that compares answers with the reference answers, for Summarization and Conversation. Default: none."""
