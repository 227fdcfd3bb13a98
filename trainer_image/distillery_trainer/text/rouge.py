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
    overlap = {name: float(score.fmeasure) for name, score in best.items()}
    return Rouge(**overlap, rougeL=max(_rouge_l(words(answer), words(reference)) for reference in references))


def _rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence. The library needs minutes for texts of 64 KB."""
    common = _common_subsequence_length(answer, reference)
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


def _common_subsequence_length(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence, with one bit per word (Hyyrö 2004, doi 10.1007/b97914)."""
    positions: dict[str, int] = {}
    for number, word in enumerate(one):
        positions[word] = positions.get(word, 0) | 1 << number
    everywhere = (1 << len(one)) - 1
    unmatched = everywhere
    for word in other:
        matched = unmatched & positions.get(word, 0)
        unmatched = (unmatched + matched | unmatched - matched) & everywhere
    return len(one) - unmatched.bit_count()


class _Tokenizer:
    """The tokenizer interface of the library."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2"], tokenizer=_Tokenizer())
