"""ROUGE: known values, any script, several references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.text import rouge


def test_rouge_of_a_known_pair():
    # "the cat sat" of 3 words in common with "the cat was sitting" of 4: the, cat; one pair; subsequence of 2.
    found = rouge.scores("the cat sat", ["the cat was sitting"])
    assert found.rouge1 == pytest.approx(4 / 7)
    assert found.rouge2 == pytest.approx(2 / 5)
    assert found.rougeL == pytest.approx(4 / 7)


@pytest.mark.parametrize(
    "text",
    [
        "\u041c\u0430\u043b\u0430\u044f \u043c\u043e\u0434\u0435\u043b\u044c",
        "\u5c0f\u6a21\u578b\u5b66\u4e60",
        "A model.",
    ],
)
def test_identical_texts_of_any_script_score_1(text):
    assert rouge.scores(text, [text]) == rouge.Rouge(1.0, 1.0, 1.0)


def test_the_best_of_several_references_counts():
    assert rouge.scores("a b c", ["x y z", "a b c"]).rougeL == 1.0


def test_rouge_without_references_is_an_error():
    with pytest.raises(ValueError, match="at least one reference"):
        rouge.scores("a", [])


@given(st.text(max_size=40), st.text(max_size=40))
def test_rouge_lies_between_0_and_1(first, second):
    found = rouge.scores(first, [second])
    assert all(0 <= value <= 1 for value in (found.rouge1, found.rouge2, found.rougeL))
