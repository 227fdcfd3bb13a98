"""Answers that are right or wrong: the share of right ones."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import TaskDefinition


def figures(_task: TaskDefinition, answers: Sequence[ScoredAnswer], _rows: HeldOutRows) -> dict[str, float | None]:
    """Accuracy with its Wilson interval."""
    correct = [scored.correct for scored in answers]
    low, high = scores.wilson_interval(sum(correct), len(correct))
    return {"score": scores.share(correct), "low": low, "high": high}
