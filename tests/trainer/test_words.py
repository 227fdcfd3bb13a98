"""Words of texts, in scripts with and without spaces."""

import pytest

from distillery_trainer.text.words import word_count, words


def test_words_of_scripts_with_and_without_spaces():
    assert words("Don't stop, U-Net!") == ["don", "t", "stop", "u", "net"]
    assert words("\u041c\u0430\u043b\u0430\u044f") == ["\u043c\u0430\u043b\u0430\u044f"]
    assert words("\u5c0f\u6a21\u578b") == ["\u5c0f", "\u6a21", "\u578b"]
    assert words("\u092a\u0922\u093c\u0928\u093e") == ["\u092a\u0922\u093c\u0928\u093e"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("Don't stop-gap - now.", 3), ("\u5c0f\u6a21\u578b ok", 4), ("\u2022 one\n\u2022 two", 2)],
)
def test_words_as_a_person_counts_them(text, count):
    assert word_count(text) == count
