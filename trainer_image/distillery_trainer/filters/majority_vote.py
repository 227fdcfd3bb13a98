"""Several samples of one answer -> the one that most agree on (self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.records import Rejection
from distillery_trainer.tasks.read_reply import ParsedReply


def majority_vote(
    samples: Sequence[ParsedReply], canonical: Callable[[str], str], min_agreement: float
) -> str | Rejection:
    """The first answer of those that most samples gave, or why there is none.

    `canonical` says what counts as the same answer; `min_agreement` is the least share of all samples, unreadable ones
    included, that must agree, from 0 to 1. A tie is rejected. Without any answer, the reason is the first sample's.
    """
    answers = [sample.answer for sample in samples if sample.answer is not None]
    if not answers:
        return next(sample.rejection for sample in samples if sample.rejection)
    (winner, most), *others = Counter(map(canonical, answers)).most_common(2)
    if others and others[0][1] == most:
        message = f'A tie: {most} of {len(samples)} samples say "{winner}", as many say "{others[0][0]}".'
        return Rejection(RejectionReason.LOW_AGREEMENT, message)
    # As the user wrote it: 0.6 of 5 samples are 3, in binary fractions a little less.
    if Fraction(most, len(samples)) < Fraction(str(min_agreement)):
        message = f'{most} of {len(samples)} samples say "{winner}"; generation.filters.minAgreement asks for more.'
        return Rejection(RejectionReason.LOW_AGREEMENT, message)
    return next(answer for answer in answers if canonical(answer) == winner)
