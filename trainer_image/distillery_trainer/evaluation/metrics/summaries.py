"""Answers that are summaries: prose that is compared with its source as well."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.metrics import prose
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.text import entities, faithfulness


def figures(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> dict[str, float | None]:
    """Those of prose, with the density of entities and what the sources do not support."""
    sources = rows.row_texts
    summaries = [(text, sources[row]) for text, row in prose.readable(answers)]
    invented = [bool(faithfulness.numbers_not_in_source(summary, source)) for summary, source in summaries]
    return {
        **prose.figures(task, answers, rows),
        "entity_density": scores.mean([entities.density(summary) for summary, _ in summaries]),
        "faithfulness": scores.mean([faithfulness.supported_share(summary, source) for summary, source in summaries]),
        "invented_numbers": scores.share(invented) if invented else None,
    }
