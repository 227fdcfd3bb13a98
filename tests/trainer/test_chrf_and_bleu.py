"""chrF and BLEU: known values, any script, several references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.text.chrf_and_bleu import corpus_bleu, corpus_chrf, sentence_chrf


def test_chrf_of_a_known_pair():
    # Of "abc" against "abd": 2 of 3 letters, 1 of 2 pairs, none of one triple; their mean is 7/18, of precision and
    # recall alike, so F2 is 7/18 as well.
    assert sentence_chrf("abc", ["abd"]) == pytest.approx(7 / 18)


def test_recall_counts_more_than_precision():
    assert sentence_chrf("abcabc", ["abc"]) > sentence_chrf("abc", ["abcabc"])


@pytest.mark.parametrize("text", ["A model.", "Малая модель", "小模型学习", "ok", "🙂"])
def test_identical_texts_of_any_script_score_1(text):
    assert sentence_chrf(text, ["something else", text]) == 1.0
    assert corpus_chrf([text], [["something else", text]]) == 1.0


def test_bleu_of_known_answers():
    four = "the cat sat down"
    assert corpus_bleu([four, "a b c d"], [["x", four], ["a b c d"]]) == 1.0
    assert corpus_bleu(["小模型学习"], [["小模型学习"]]) == 1.0
    assert corpus_bleu(["小模型学习好"], [["小模型学习了"]]) == pytest.approx((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    assert corpus_bleu([""], [["a b c d"]]) == 0.0


def test_rows_may_have_different_numbers_of_references():
    assert corpus_chrf(["abc", "xyz"], [["abc"], ["q", "xyz", "r"]]) == 1.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_scores_lie_between_0_and_1(first, second):
    found = (sentence_chrf(first, [second]), corpus_chrf([first], [[second]]), corpus_bleu([first], [[second]]))
    assert all(0 <= value <= 1 for value in found)
