"""Whether a served student answers as it did in the evaluation."""

from __future__ import annotations

from distillery_trainer.parsing.reasoning import split_reasoning
from distillery_trainer.parsing.tool_calls import read_calls
from distillery_trainer.tasks.task_definition import AnswerKind
from distillery_trainer.text import rouge

EXACT_SHARE = 0.95
"""Share of the rows whose label or number must be the same. Arithmetic differs in the last digit between servers, which
decides between two answers that are equally likely: one row in 200 with vLLM. A wrong template, prompt, precision or
sampling changes many more."""
PROSE_SHARE = 0.5
"""Share of the rows whose prose or object must be alike: a text that takes another word once may go on otherwise.
SmolLM2-135M-Instruct, greedy, 60 tokens, bfloat16 against float32: 4 of 8 texts were the same and 6 alike; sampled at
temperature 0.3 3 were alike, at temperature 1 none."""
PROSE_SIMILARITY = 0.5
"""ROUGE-L from which two texts are alike."""


def required_share(kind: AnswerKind) -> float:
    """The share of rows that must be answered as in the evaluation."""
    return PROSE_SHARE if kind.is_partly_right else EXACT_SHARE


def alike(kind: AnswerKind, evaluated: str, served: str) -> bool:
    """Whether two replies are the same text, or, in prose and objects, similar ones, or make the same calls. Reasoning
    may differ, but neither reply may have some where the other has none."""
    if kind is AnswerKind.CALLS and _has_calls(evaluated):
        # A server sends calls apart from the text.
        return read_calls(evaluated) == read_calls(served)
    (reasoning, answer), (served_reasoning, served_answer) = split_reasoning(evaluated), split_reasoning(served)
    if (reasoning is None) is not (served_reasoning is None):
        return False
    if answer.strip() == served_answer.strip():
        return True
    by_likeness = kind.is_partly_right or (
        kind is AnswerKind.CALLS and read_calls(evaluated) == read_calls(served) == []
    )
    return by_likeness and rouge.scores(served_answer, [answer]).rougeL >= PROSE_SIMILARITY


def _has_calls(reply: str) -> bool:
    calls = read_calls(reply)
    return isinstance(calls, list) and calls != []
