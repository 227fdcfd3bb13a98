"""Answers that are one label: accuracy, macro F1, and each label's precision and recall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from distillery_api.breakdown import PartFigures, SystemBreakdown
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.metrics import accuracy
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import TaskDefinition


def figures(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> dict[str, float | None]:
    """Accuracy, and macro F1 where all rows have the same labels."""
    # The letters of options have no meaning of their own.
    given = [scored.answer for scored in answers]
    macro_f1 = scores.macro_f1(row_labels(task, answers, rows), given, task.labels) if task.labels else None
    return {**accuracy.figures(task, answers, rows), "macro_f1": macro_f1}


def breakdown(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> SystemBreakdown | None:
    """Precision, recall and F1 of each label, and the confusion matrix; None where rows have options of their own."""
    if not task.labels:
        return None
    given = [scored.answer or "" for scored in answers]
    pairs = Counter(zip(row_labels(task, answers, rows), given, strict=True))
    confusion: dict[str, dict[str, int]] = {}
    for (reference, answer), count in sorted(pairs.items()):
        confusion.setdefault(reference, {})[answer] = count
    return SystemBreakdown(parts=tuple(_part(label, pairs) for label in task.labels), confusion=confusion)


def _part(label: str, pairs: Counter[tuple[str, str]]) -> PartFigures:
    rows = sum(count for (reference, _), count in pairs.items() if reference == label)
    answered = sum(count for (_, answer), count in pairs.items() if answer == label)
    return scores.part_figures(label, right=pairs[label, label], answered=answered, rows=rows)


def row_labels(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> list[str]:
    """The label of each row. Where several are correct, the one that was answered counts as the row's."""
    correct_labels = [
        [label for label in task.labels if task.correct(label, reference)] for reference in rows.references
    ]
    return [
        str(scored.answer if scored.answer in correct else correct[0])
        for scored, correct in zip(answers, correct_labels, strict=True)
    ]
