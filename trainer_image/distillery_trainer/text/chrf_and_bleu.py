"""chrF (Popović 2015) and BLEU (Papineni et al. 2002) by sacreBLEU, from 0 to 1 (papers print 100 times that).

chrF compares sequences of one to six characters, so it needs no words and suits every script and code as well. BLEU
compares words and is defined for all answers together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from distillery_trainer.text.words import with_spaced_letters


def sentence_chrf(answer: str, references: Sequence[str]) -> float:
    """chrF of one answer against the best of its references (sacreBLEU's defaults: character order 6, beta 2)."""
    return _share(_chrf().sentence_score(answer, list(references)).score)


def corpus_chrf(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """chrF of all answers together, each against the best of its references: their n-grams are counted up first, so a
    long answer weighs more than a short one."""
    return _share(_chrf().corpus_score(list(answers), _streams(references)).score)


def corpus_bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of all answers together, each against all of its references at once (tokenizer 13a). In scripts without
    spaces, each letter is a word."""
    spaced = [[with_spaced_letters(reference) for reference in each] for each in references]
    return _share(_bleu().corpus_score([with_spaced_letters(answer) for answer in answers], _streams(spaced)).score)


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """The first reference of every answer, then the second ones, …; None where an answer has fewer."""
    most = max(map(len, references))
    return [[each[number] if number < len(each) else None for each in references] for number in range(most)]


def _share(percent: float) -> float:
    return min(1.0, percent / 100)  # rounding may leave 100.00000000000001


@cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


@cache
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU()
