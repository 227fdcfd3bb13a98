"""Whether a served student answers as it did in the evaluation."""

from __future__ import annotations

from distillery_trainer.parsing.reasoning import split_reasoning
from distillery_trainer.tasks.task_definition import AnswerKind
from distillery_trainer.text import rouge

PROSE_SHARE = 0.75
"""Share of the rows whose prose must be alike. Arithmetic differs in the last digit between servers, and a text that
takes another word once may go on otherwise."""
PROSE_SIMILARITY = 0.7
"""ROUGE-L from which two texts are alike."""


def required_share(kind: AnswerKind) -> float:
    """The share of rows that must be answered as in the evaluation."""
    return PROSE_SHARE if kind.is_prose else 1.0


def alike(kind: AnswerKind, evaluated: str, served: str) -> bool:
    """Whether two replies are the same text, or, in prose, similar ones. Reasoning may differ, but neither reply may
    have some where the other has none."""
    (reasoning, answer), (served_reasoning, served_answer) = split_reasoning(evaluated), split_reasoning(served)
    if (reasoning is None) is not (served_reasoning is None):
        return False
    if answer.strip() == served_answer.strip():
        return True
    return kind.is_prose and rouge.scores(served_answer, [answer]).rougeL >= PROSE_SIMILARITY
