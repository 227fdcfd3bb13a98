"""Baselines that need no language model."""

import pytest

from distillery_trainer.evaluation.baselines import lead


@pytest.mark.parametrize(
    ("text", "words", "beginning"),
    [
        ("One two, three.\n\nFour five", 4, "One two, three. Four"),
        ("One", 4, "One"),
        ("今日は雨です", 3, "今日は"),
        ("- One - two", 1, "- One -"),
        ("", 4, ""),
    ],
)
def test_lead_has_the_requested_number_of_words(text, words, beginning):
    assert lead(text, words) == beginning
