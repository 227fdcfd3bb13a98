"""Answers that are calls of tools: right functions, right arguments, calls where none is right, calls that fit their
schemas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from distillery_api.breakdown import SystemBreakdown
from distillery_trainer.data.known_calls import KnownCalls
from distillery_trainer.data.rows import Gold, known_answers
from distillery_trainer.data.tool_calls import Call, read_written
from distillery_trainer.data.tool_messages import tools_of
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.metrics import accuracy
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.tasks.tool_calling import calls_problem
from distillery_trainer.text.matching_calls import Comparison, compare


def figures(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> dict[str, float | None]:
    """The share of rows with the right calls, functions and arguments alike; with the right functions; F1 of all
    arguments; precision and recall of not calling; and the share of calling replies whose calls fit their tools."""
    compared = [comparison(scored, reference) for scored, reference in zip(answers, rows.references, strict=True)]
    expects_none = [not _closest(_calls(scored), reference).calls for scored, reference in _paired(answers, rows)]
    calls_none = [scored.answer is not None and not _calls(scored) for scored in answers]
    both = [expected and called for expected, called in zip(expects_none, calls_none, strict=True)]
    return {
        **accuracy.figures(task, answers, rows),
        "functions": scores.share(
            [scored.answer is not None and one.functions_right for scored, one in zip(answers, compared, strict=True)]
        ),
        "argument_f1": _argument_f1(compared),
        "no_call_precision": _ratio(sum(both), sum(calls_none)),
        "no_call_recall": _ratio(sum(both), sum(expects_none)),
        "valid_calls": _valid_share(answers, rows),
    }


def breakdown(_task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> SystemBreakdown | None:
    """Precision, recall and F1 of calling each function, by rows; None where no row is to be answered by a call."""
    right: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for scored, reference in _paired(answers, rows):
        called = {call.name for call in _calls(scored)}
        known = {name for name, _ in _closest(_calls(scored), reference).options}
        answered.update(called)
        expected.update(known)
        right.update(called & known)
    parts = tuple(
        scores.part_figures(name, right=right[name], answered=answered[name], rows=count)
        for name, count in sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    )
    return SystemBreakdown(parts=parts) if parts else None


def comparison(scored: ScoredAnswer, reference: Gold) -> Comparison:
    """The answer beside the known calls; of several references, the one that it is closest to."""
    calls = _calls(scored)
    return compare(calls, _closest(calls, reference))


def _closest(calls: Sequence[Call], reference: Gold) -> KnownCalls:
    known = [KnownCalls.read(text) for text in known_answers(reference)]
    return max(known, key=lambda one: _closeness(compare(calls, one)))


def _closeness(one: Comparison) -> tuple[bool, bool, int]:
    return one.right, one.functions_right, one.right_arguments


def _calls(scored: ScoredAnswer) -> list[Call]:
    return read_written(scored.answer or "") or []


def _paired(answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> Iterator[tuple[ScoredAnswer, Gold]]:
    return zip(answers, rows.references, strict=True)


def _argument_f1(compared: Sequence[Comparison]) -> float | None:
    """2 · right / (given + expected), over the arguments of all rows; None where there are none."""
    right = sum(one.right_arguments for one in compared)
    return _ratio(2 * right, sum(one.answered_arguments + one.expected_arguments for one in compared))


def _valid_share(answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> float | None:
    """Of the replies that call something, or that nobody can read, the share whose calls fit the row's tools."""
    valid = [
        scored.answer is not None and calls_problem(_calls(scored), tools_of(row.studentPrompt)) is None
        for scored, row in zip(answers, rows.rows, strict=True)
        if scored.answer is None or _calls(scored)
    ]
    return scores.share(valid) if valid else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
