"""The user's rules for answers (`generation.filters.answerRules`): whether an answer keeps them, and which it
breaks."""

from __future__ import annotations

from distillery_api import regular_expressions
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.spec import AnswerRule, Filters, ParsesAs
from distillery_trainer.data.rows import Rejection
from distillery_trainer.parsing.code_syntax import json_problem, sql_problem


class AnswerRules:
    """The rules of a run."""

    def __init__(self, filters: Filters) -> None:
        self._rules = filters.answer_rules or ()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def rejection(self, answer: str) -> Rejection | None:
        """Why an answer is rejected; None if it keeps every rule."""
        for number, rule in enumerate(self._rules):
            if problem := _problem(rule, answer):
                message = f"{problem} (generation.filters.answerRules[{number}])."
                return Rejection(RejectionReason.BREAKS_RULE, message)
        return None


def _problem(rule: AnswerRule, answer: str) -> str | None:
    """How an answer breaks a rule, as the beginning of a sentence; None if it keeps it."""
    if rule.must_contain is not None:
        found = _contains(answer, rule.must_contain, rule.ignore_case)
        return None if found else f'The answer does not contain "{rule.must_contain}"'
    if rule.must_not_contain is not None:
        found = _contains(answer, rule.must_not_contain, rule.ignore_case)
        return f'The answer contains "{rule.must_not_contain}"' if found else None
    if rule.matches is not None:
        found = regular_expressions.is_found(rule.matches, answer)
        return None if found else f"The answer does not match the regular expression {rule.matches}"
    problem = json_problem(answer) if rule.parses_as is ParsesAs.JSON else sql_problem(answer, rule.dialect)
    return f"The answer is not {rule.parses_as}: {problem}" if problem else None


def _contains(answer: str, text: str, ignore_case: bool) -> bool:
    return text.casefold() in answer.casefold() if ignore_case else text in answer
