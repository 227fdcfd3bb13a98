"""Several samples of one row -> the answer that most agree on (self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.rows import Rejection
from distillery_trainer.tasks.read_reply import ParsedReply


def majority_vote(
    samples: Sequence[ParsedReply], vote_key: Callable[[str], str], min_agreement: float
) -> str | Rejection:
    """The answer that most samples give, as the first of them words it, or a rejection.

    Answers with the same `vote_key` count as the same; `min_agreement` is the minimum share of all samples,
    including unreadable ones, that must agree, from 0 to 1. A tie is rejected. If no sample has an answer, the
    rejection is that of the first one.
    """
    answers = [sample.answer for sample in samples if sample.answer is not None]
    if not answers:
        return next(sample.rejection for sample in samples if sample.rejection)
    (winner, most), *others = Counter(map(vote_key, answers)).most_common(2)
    if others and others[0][1] == most:
        message = f'A tie: {most} of {len(samples)} samples answer "{winner}", and as many "{others[0][0]}".'
        return Rejection(RejectionReason.LOW_AGREEMENT, message)
    # Exactly as written by the user: 0.6 of 5 samples are 3; in binary fractions it would be slightly less.
    if Fraction(most, len(samples)) < Fraction(str(min_agreement)):
        message = (
            f'Only {most} of {len(samples)} samples answer "{winner}"; generation.filters.minAgreement needs more.'
        )
        return Rejection(RejectionReason.LOW_AGREEMENT, message)
    return next(answer for answer in answers if vote_key(answer) == winner)


def sampled_answers(
    samples: Sequence[ParsedReply], vote_key: Callable[[str], str], winner: str
) -> list[tuple[str, int]]:
    """The different answers, each as the first of its samples words it, with the number of samples that gave it; the
    winner first, then the most frequent ones."""
    answers = [sample.answer for sample in samples if sample.answer is not None]
    counts = Counter(map(vote_key, answers))
    wordings = {vote_key(answer): answer for answer in reversed(answers)}
    ordered = sorted(counts, key=lambda key: (key != vote_key(winner), -counts[key]))
    return [(wordings[key], counts[key]) for key in ordered]
