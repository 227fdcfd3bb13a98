"""ROUGE (Lin 2004) for texts in any script.

The library's own tokenizer drops everything that is not a-z or 0-9, so that identical Russian or Chinese texts would
score 0; here `text.words` finds the words, and they are not stemmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from distillery_trainer.text.words import words


@dataclass(frozen=True, slots=True)
class Rouge:
    """F1 values from 0 to 1."""

    rouge1: float
    """Words in common."""
    rouge2: float
    """Pairs of neighbouring words in common."""
    rougeL: float  # noqa: N815 - its usual name
    """The longest common subsequence of words."""


def scores(answer: str, references: Sequence[str]) -> Rouge:
    """The overlap of an answer with a reference; with several references, each value is that of the best one.

    Raises ValueError without references.
    """
    if not references:
        raise ValueError("ROUGE needs at least one reference.")
    best = _scorer().score_multi(list(references), answer)
    return Rouge(**{name: float(score.fmeasure) for name, score in best.items()})


class _Tokenizer:
    """The tokenizer interface of the library."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Tokenizer())
