"""Answers that are JSON objects: F1 over their fields, the share of valid and of exact ones, and the same by field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from distillery_api.breakdown import PartFigures, SystemBreakdown
from distillery_trainer.data.rows import known_answers
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.tasks.extraction import ExtractionTask
from distillery_trainer.text import object_fields
from distillery_trainer.text.object_fields import FieldCounts


def figures(_task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> dict[str, float | None]:
    """F1 over the fields of all rows (micro-averaged) with its bootstrap interval, precision and recall."""
    counts = field_counts(answers, rows)
    right = [row.right.total() for row in counts]
    answered = [row.answered.total() for row in counts]
    wanted = [row.wanted.total() for row in counts]
    both = [one + other for one, other in zip(answered, wanted, strict=True)]
    low, high = scores.micro_f1_interval(right, both) or (None, None)
    return {
        # Where no row has a field, an answer is right if it has none either.
        "score": 2 * sum(right) / sum(both) if sum(both) else scores.mean([scored.score for scored in answers]),
        "low": low,
        "high": high,
        "precision": sum(right) / sum(answered) if sum(answered) else None,
        "recall": sum(right) / sum(wanted) if sum(wanted) else None,
        "valid_share": scores.share([scored.answer is not None for scored in answers]),
        "exact": scores.share([scored.correct for scored in answers]),
    }


def breakdown(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> SystemBreakdown:
    """Precision, recall and F1 of each field that the schema names, or that occurs, in the schema's order."""
    counts = field_counts(answers, rows)
    right, answered, wanted = (
        sum((getattr(row, name) for row in counts), object_fields.Fields()) for name in ("right", "answered", "wanted")
    )
    known = task.fields if isinstance(task, ExtractionTask) else []
    names = dict.fromkeys([*known, *sorted({*answered, *wanted})])
    rows_with = Counter(name for row in counts for name in row.wanted)
    return SystemBreakdown(
        parts=tuple(
            _part(name, right[name], answered[name], wanted[name], rows_with[name])
            for name in names
            if answered[name] or wanted[name]
        )
    )


def _part(name: str, right: int, answered: int, wanted: int, rows: int) -> PartFigures:
    found = scores.part_figures(name, right=right, answered=answered, rows=wanted)
    return found.model_copy(update={"rows": rows})


def field_counts(answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> list[FieldCounts]:
    """The fields of each row's answer beside those of its reference: of several, the one that is nearest."""
    return [
        max((object_fields.counts(scored.answer, one) for one in known_answers(reference)), key=object_fields.f1)
        for scored, reference in zip(answers, rows.references, strict=True)
    ]
