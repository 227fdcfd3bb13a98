"""Answers in prose: ROUGE and length."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.data.rows import known_answers
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.text import rouge
from distillery_trainer.text.words import word_count


def figures(_task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> dict[str, float | None]:
    """The mean score with its bootstrap interval, ROUGE-1 and ROUGE-2, and the length of readable answers."""
    values = [scored.score for scored in answers]
    low, high = scores.bootstrap_interval(values) or (None, None)
    texts = readable(answers)
    overlaps = [rouge.scores(text, known_answers(rows.references[row])) for text, row in texts]
    return {
        "score": scores.mean(values),
        "low": low,
        "high": high,
        "rouge1": sum(overlap.rouge1 for overlap in overlaps) / len(answers),
        "rouge2": sum(overlap.rouge2 for overlap in overlaps) / len(answers),
        "words": scores.mean([word_count(text) for text, _ in texts]),
    }


def readable(answers: Sequence[ScoredAnswer]) -> list[tuple[str, int]]:
    """The readable answers, each with the number of its row."""
    return [(scored.answer, row) for row, scored in enumerate(answers) if scored.answer is not None]
