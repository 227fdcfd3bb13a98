"""What is measured of a system's answers, by the kind of answer: one module a kind.

A module has `figures`, which the result table shows, and may have `breakdown`, the same by class or by field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from distillery_api.breakdown import Breakdown, SystemBreakdown
from distillery_trainer.evaluation.metrics import (
    accuracy,
    calls,
    label_sets,
    labels,
    objects,
    prose,
    summaries,
    texts,
)
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer, System
from distillery_trainer.filters.answer_rules import AnswerRules
from distillery_trainer.tasks import AnswerKind, TaskDefinition

Figures = Mapping[str, float | None]
"""By field of `Score`; None where a figure cannot be had."""
Answers = Sequence[ScoredAnswer]

_FIGURES: dict[AnswerKind, Callable[[TaskDefinition, Answers, HeldOutRows], Figures]] = {
    AnswerKind.LABEL: labels.figures,
    AnswerKind.LABELS: label_sets.figures,
    AnswerKind.NUMBER: accuracy.figures,
    AnswerKind.SUMMARY: summaries.figures,
    AnswerKind.TURN: prose.figures,
    AnswerKind.TEXT: texts.figures,
    AnswerKind.OBJECT: objects.figures,
    AnswerKind.CALLS: calls.figures,
}
_BREAKDOWNS: dict[AnswerKind, tuple[str, Callable[[TaskDefinition, Answers, HeldOutRows], SystemBreakdown | None]]] = {
    AnswerKind.LABEL: ("class", labels.breakdown),
    AnswerKind.LABELS: ("class", label_sets.breakdown),
    AnswerKind.OBJECT: ("field", objects.breakdown),
    AnswerKind.CALLS: ("function", calls.breakdown),
}


def figures(task: TaskDefinition, answers: Answers, rows: HeldOutRows) -> Figures:
    """The figures of one system's answers, by field of `Score`."""
    return {**_FIGURES[task.answer_kind](task, answers, rows), "rules_kept": _rules_kept(task, answers)}


def _rules_kept(task: TaskDefinition, answers: Answers) -> float | None:
    """The share of rows whose answer keeps the user's rules; None without any."""
    rules = AnswerRules(task.generation.filters)
    if not rules:
        return None
    kept = [scored.answer is not None and rules.rejection(scored.answer) is None for scored in answers]
    return sum(kept) / len(kept)


def breakdown(task: TaskDefinition, answers: Mapping[System, Answers], rows: HeldOutRows) -> Breakdown | None:
    """The figures of all systems by class or by field; None where answers have none."""
    if task.answer_kind not in _BREAKDOWNS:
        return None
    part, of_system = _BREAKDOWNS[task.answer_kind]
    found = {system.value: of_system(task, scored, rows) for system, scored in answers.items()}
    systems = {system: figures for system, figures in found.items() if figures is not None}
    return Breakdown(part=part, systems=systems) if systems else None
