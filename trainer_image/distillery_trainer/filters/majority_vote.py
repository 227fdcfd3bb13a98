"""Several samples of one answer -> the one that most agree on (self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from distillery_trainer.filters.rejection import Rejection
from distillery_trainer.tasks.read_reply import ParsedReply


def majority_vote(
    judgements: Sequence[ParsedReply], ballot: Callable[[str], str], min_agreement: float
) -> str | Rejection:
    """The first answer of those that most samples gave, or why there is none.

    `ballot` says what counts as the same answer; `min_agreement` is the least share of all samples, unreadable ones
    included, that must agree, from 0 to 1. A tie is rejected. Without any answer, the reason is the first sample's.
    """
    answers = [judgement.answer for judgement in judgements if judgement.answer is not None]
    if not answers:
        return Rejection(judgements[0].reason or "", judgements[0].message)
    (winner, most), *others = Counter(map(ballot, answers)).most_common(2)
    if others and others[0][1] == most:
        message = f'A tie: {most} of {len(judgements)} samples say "{winner}", as many say "{others[0][0]}".'
        return Rejection("low_agreement", message)
    # As the user wrote it: 0.6 of 5 samples are 3, in binary fractions a little less.
    if Fraction(most, len(judgements)) < Fraction(str(min_agreement)):
        message = f'{most} of {len(judgements)} samples say "{winner}"; generation.filters.minAgreement asks for more.'
        return Rejection("low_agreement", message)
    return next(answer for answer in answers if ballot(answer) == winner)
