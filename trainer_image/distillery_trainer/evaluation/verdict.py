"""The verdict on a student: what its result table means. A pure function; exactly one verdict follows from any table.

A student must prove itself: against the base model, against the best baseline, and against its teacher, in this order,
each time by a paired test on the same held-out rows. Where the rows leave open what a higher score means, that is the
verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

from distillery_api.formatting import cleaned
from distillery_api.verdict import SENTENCE_LIMIT, Verdict, VerdictKind
from distillery_trainer.evaluation.findings import Findings
from distillery_trainer.evaluation.next_step import next_step
from distillery_trainer.evaluation.paired_comparison import FEWEST_ROWS, PairedComparison
from distillery_trainer.evaluation.systems import System

MOSTLY = 0.5
"""A share above which most rows are meant."""
_ANSWER_LIMIT = 60
"""Bytes of an answer that a sentence quotes."""

_NAMES = {
    System.TEACHER: "its teacher",
    System.BASE_TEACHER_PROMPT: "the base model with the teacher prompt",
    System.BASE: "the base model",
    System.MAJORITY: "the most frequent answer of the training rows",
    System.SHALLOW: "counting words (the baseline shallow)",
    System.LEAD: "the first words of the source",
    System.COPIED: "a copy of the row's text (the baseline copied)",
}


@dataclass(frozen=True)
class _Conclusion:
    kind: VerdictKind
    message: str
    system: System | None = None
    """The one that decided."""


def verdict(found: Findings) -> Verdict:
    """What the table means, and the likely next step."""
    conclusion = _conclude(found)
    remedy, step = next_step(conclusion.kind, conclusion.system, found)
    return Verdict(
        kind=conclusion.kind,
        message=cleaned(conclusion.message, SENTENCE_LIMIT),
        compared_with=conclusion.system.value if conclusion.system else None,
        remedy=remedy,
        next_step=cleaned(step, SENTENCE_LIMIT),
    )


def _conclude(found: Findings) -> _Conclusion:
    return (
        _of_the_answers_alone(found)
        or _worse_than_base(found)
        or _ceiling_of_teacher(found)
        or _no_better_than_baseline(found)
        or _no_better_than_base(found)
        or _beside_teacher(found)
    )


def _of_the_answers_alone(found: Findings) -> _Conclusion | None:
    if found.rows < FEWEST_ROWS:
        message = f"{found.rows} held-out rows are too few to say anything about the student."
        return _Conclusion(VerdictKind.TOO_FEW_ROWS, message)
    if found.unreadable > MOSTLY:
        message = f"No answer can be read in {found.unreadable:.0%} of the student's replies."
        return _Conclusion(VerdictKind.UNREADABLE_ANSWERS, message)
    if found.constant is not None:
        message = (
            f'The student gives the answer "{cleaned(found.constant, _ANSWER_LIMIT)}" to nearly every row: it does not'
            f" tell rows apart, and its score of {_student(found)} says only how often that is right."
        )
        return _Conclusion(VerdictKind.CONSTANT_ANSWERS, message)
    return None


def _worse_than_base(found: Findings) -> _Conclusion | None:
    base = found.best_base
    if base is None or not found.against[base].is_worse:
        return None
    message = f"The training has made the model worse: {_beside(found, base)}."
    return _Conclusion(VerdictKind.WORSE_THAN_BASE, message, base)


def _ceiling_of_teacher(found: Findings) -> _Conclusion | None:
    """A student at the level of a teacher that does not show what there is to learn."""
    teacher, best = found.against.get(System.TEACHER), found.best_baseline
    if teacher is None or not teacher.is_alike:
        return None
    beside = f"The student is as good as its teacher ({_beside(found, System.TEACHER)})"
    comparison = found.teacher_against_baseline
    if best and comparison and comparison.is_no_better and found.against[best].is_no_better:
        message = f"{beside}, but the teacher is itself no better than {_named(best)} ({found.scores[best]:.3f})."
        return _Conclusion(VerdictKind.CEILING_OF_TEACHER, message, System.TEACHER)
    if found.right_or_wrong and found.scores[System.TEACHER] < MOSTLY:
        message = f"{beside}, but the teacher is itself wrong on most rows."
        return _Conclusion(VerdictKind.CEILING_OF_TEACHER, message, System.TEACHER)
    return None


def _no_better_than_baseline(found: Findings) -> _Conclusion | None:
    best = found.best_baseline
    if best is None or found.against[best].is_better:
        return None
    if not found.against[best].is_no_better:
        return _open(found, best)
    worse = "worse" if found.against[best].is_worse else "no better"
    message = f"The student is {worse} than {_named(best)}, which needs no language model: {_beside(found, best)}."
    return _Conclusion(VerdictKind.NO_BETTER_THAN_BASELINE, message, best)


def _no_better_than_base(found: Findings) -> _Conclusion | None:
    base = found.best_base
    if base is None or found.against[base].is_better:
        return None
    if not found.against[base].is_no_better:
        return _open(found, base)
    message = f"The student is no better than {_named(base)} is without any training: {_beside(found, base)}."
    return _Conclusion(VerdictKind.NO_BETTER_THAN_BASE, message, base)


def _beside_teacher(found: Findings) -> _Conclusion:
    teacher = found.against.get(System.TEACHER)
    if teacher is None:
        message = (
            f"The student has learned to answer as its teacher does: agreement {_student(found)}. No held-out row has"
            " gold, so this does not say whether their answers are right."
        )
        return _Conclusion(VerdictKind.AGREEMENT_ONLY, message)
    if teacher.is_better:
        message = f"The student is better than its teacher: {_beside(found, System.TEACHER)}."
        return _Conclusion(VerdictKind.BEATS_TEACHER, message, System.TEACHER)
    if teacher.is_worse:
        message = f"The student has learned, and is below its teacher: {_beside(found, System.TEACHER)}{_gap(found)}."
        return _Conclusion(VerdictKind.BELOW_TEACHER, message, System.TEACHER)
    if not teacher.is_alike:
        return _open(found, System.TEACHER)
    message = (
        f"{found.rows:,} held-out rows show no difference between the student and its teacher:"
        f" {_beside(found, System.TEACHER)}; the true one lies between {_bounds(teacher)}."
    )
    return _Conclusion(VerdictKind.WITHIN_NOISE_OF_TEACHER, message, System.TEACHER)


def _open(found: Findings, system: System) -> _Conclusion:
    message = (
        f"{found.rows:,} held-out rows cannot tell the student from {_named(system)}: {_beside(found, system)};"
        f" the true difference lies between {_bounds(found.against[system])}."
    )
    return _Conclusion(VerdictKind.TOO_FEW_ROWS, message, system)


def _named(system: System) -> str:
    return _NAMES.get(system, f"the baseline {system}")


def _student(found: Findings) -> str:
    return f"{found.scores[System.STUDENT]:.3f}"


def _beside(found: Findings, system: System) -> str:
    return f"{_student(found)} against {found.scores[system]:.3f}"


def _bounds(comparison: PairedComparison) -> str:
    return f"{comparison.low:+.2f} and {comparison.high:+.2f}"


def _gap(found: Findings) -> str:
    if found.gap_closed is None:
        return ""
    return f"; it closes {found.gap_closed:.2f} of the gap between base model and teacher"
