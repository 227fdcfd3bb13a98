"""Several samples of one row: which answer wins, and when none does."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.rows import Rejection
from distillery_trainer.filters.majority_vote import majority_vote
from distillery_trainer.tasks.read_reply import ParsedReply


def samples(*answers: str | None) -> list[ParsedReply]:
    return [
        ParsedReply(answer) if answer else ParsedReply(Rejection(RejectionReason.BAD_JSON, "The reply is no JSON."))
        for answer in answers
    ]


@pytest.mark.parametrize(
    ("answers", "min_agreement", "winner"),
    [
        (["yes"], 0.5, "yes"),
        (["yes", "no", "yes"], 0.5, "yes"),
        (["no", "yes", "yes"], 0.6, "yes"),
        (["A", "B", "b", "a", "b"], 0.6, "B"),
        (["yes", None], 0.5, "yes"),
        ([None, "yes", None], 0.3, "yes"),
    ],
)
def test_answer_of_most_samples_wins_as_the_first_of_them_words_it(answers, min_agreement, winner):
    assert majority_vote(samples(*answers), str.casefold, min_agreement) == winner


@pytest.mark.parametrize(
    ("answers", "min_agreement", "message"),
    [
        (["yes", "no"], 0.0, 'A tie: 1 of 2 samples answer "yes", and as many "no".'),
        (["no", "yes", "yes", "no", None], 0.0, 'A tie: 2 of 5 samples answer "no", and as many "yes".'),
        (["yes", "no", "yes"], 0.7, 'Only 2 of 3 samples answer "yes"; generation.filters.minAgreement needs more.'),
        (["yes", None, None], 0.5, 'Only 1 of 3 samples answer "yes"; generation.filters.minAgreement needs more.'),
    ],
)
def test_tie_or_small_share_is_no_agreement(answers, min_agreement, message):
    assert majority_vote(samples(*answers), str.casefold, min_agreement) == Rejection("low_agreement", message)


def test_without_any_answer_the_reason_is_that_of_the_first_sample():
    timeout = Rejection(RejectionReason.TIMEOUT, "Too late.")
    replies = [ParsedReply(timeout), ParsedReply(Rejection(RejectionReason.BAD_JSON, "No JSON."))]
    assert majority_vote(replies, str, 0.5) == timeout


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9), st.sampled_from([0.0, 0.5, 0.6, 1.0]))
def test_winner_has_more_samples_than_any_other_and_enough_of_all(answers, min_agreement):
    outcome = majority_vote(samples(*answers), str, min_agreement)
    counts = Counter(answer for answer in answers if answer)
    if isinstance(outcome, str):
        assert counts[outcome] >= min_agreement * len(answers)
        assert all(counts[outcome] > count for answer, count in counts.items() if answer != outcome)
    elif counts:
        top = counts.most_common(2)
        tied = len(top) == 2 and top[0][1] == top[1][1]
        assert outcome.reason == "low_agreement"
        assert tied or top[0][1] < min_agreement * len(answers)
