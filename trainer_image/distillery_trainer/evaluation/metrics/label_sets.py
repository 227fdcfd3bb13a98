"""Answers that are any number of labels: the share of exact sets, micro and macro F1, each label's precision and
recall."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_api.breakdown import PartFigures, SystemBreakdown
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.metrics import accuracy
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import MultiLabelTask, TaskDefinition

Pairs = list[tuple[frozenset[str], frozenset[str]]]
"""The labels of each row, and those of the answer to it; none of an unreadable one."""


def figures(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> dict[str, float | None]:
    """The share of rows whose set of labels is exactly right, micro F1, and macro F1 over the labels that occur."""
    pairs = _pairs(task, answers, rows)
    parts = [_part(label, pairs) for label in task.labels]
    occurring = [part.f1 for part in parts if part.rows]
    return {
        **accuracy.figures(task, answers, rows),
        "micro_f1": _micro_f1(pairs),
        "macro_f1": scores.mean(occurring),
    }


def breakdown(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> SystemBreakdown:
    """Precision, recall and F1 of each label."""
    pairs = _pairs(task, answers, rows)
    return SystemBreakdown(parts=tuple(_part(label, pairs) for label in task.labels))


def _pairs(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> Pairs:
    if not isinstance(task, MultiLabelTask):
        raise TypeError(f"the answers of {task.task} are no sets of labels")
    given = [frozenset() if scored.answer is None else task.labels_in(scored.answer) for scored in answers]
    return list(zip(map(task.labels_of, rows.references), given, strict=True))


def _micro_f1(pairs: Pairs) -> float | None:
    """F1 over all labels of all rows (twice the right ones, by those of the rows and of the answers); None where there
    are no labels at all."""
    right = sum(len(expected & given) for expected, given in pairs)
    both = sum(len(expected) + len(given) for expected, given in pairs)
    return 2 * right / both if both else None


def _part(label: str, pairs: Pairs) -> PartFigures:
    rows = sum(label in expected for expected, _ in pairs)
    answered = sum(label in given for _, given in pairs)
    right = sum(label in expected and label in given for expected, given in pairs)
    return scores.part_figures(label, right=right, answered=answered, rows=rows)
