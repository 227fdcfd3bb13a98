"""Which texts count as the same label."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.comparable import comparable, label_key, plain


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Yes", " yes\n"),
        ("\u0130ade", "iade"),
        ("IPTAL", "\u0131ptal"),
        ("\u0130PTAL".lower(), "iptal"),
        ("Stra\u00dfe", "STRASSE"),
        ("STRA\u1e9eE", "stra\u00dfe"),
        ("tr\u00e8s bien", "tre\u0300s  bien"),
        ("\uff21\uff0b", "a+"),
        ("\uff8a\uff9f", "\u30d1"),
        ("neu\u00adtral", "n\u200beutral"),
        ("\ufb01n", "FIN"),
        ("non\u2011toxic", "non-toxic"),
        ("can\u2019t", "can't"),
        ("\u22121", "-1"),
        ("**C#**", "C#"),
        ("*A**", "A*"),
        ("**A***", "A*"),
        ("(B).", "b)"),
        ('"n/a"', "N/A"),
        ("\u300c\u4e2d\u7acb\u300d\u3002", "\u4e2d\u7acb"),
        ("\uff8a\uff72\uff61", "\u30cf\u30a4\u3002"),
        ("\uff8a\uff72\uff61", "\u30cf\u30a4"),
        ("\uff62\uff8a\uff72\uff63", "\u30cf\u30a4"),
        ("# Yes!", "yes"),
        ("**++**", "++"),
    ],
)
def test_texts_that_are_the_same_label(text, other):
    assert label_key(text) == label_key(other)


def test_half_width_punctuation_is_plain():
    assert plain("\uff62\uff8a\uff72\uff64\uff72\uff74\uff61\uff63") == '"\u30cf\u30a4,\u30a4\u30a8."'
    assert label_key("\uff8a\uff72\uff61") == "\u30cf\u30a4"


def test_labels_that_differ():
    labels = (
        "C", "C#", "C++", "A", "A*", "++", "+", "*", ".NET", "NET", "N/A", "NA", "1", "-1", "- 1", ".5", "5", "5%",
        ":)", ":(", "yes?", "yes", "\u5df2", "\u5df1", "\U0001f600", "\U0001f622", "x\u00b2", "x2", "\u00bd",
        "1/2", "not_entailment", "not entailment", "(a) or (b)", "f(x)",
    )  # fmt: skip
    assert len({label_key(label) for label in labels}) == len(labels)


@given(st.text())
def test_encodings_of_a_text_are_the_same_label(text):
    assert label_key(text) == label_key(unicodedata.normalize("NFD", unicodedata.normalize("NFC", text)))
    assert comparable(text) == comparable(f" {text}\u200b\n")


@given(st.text())
def test_case_changes_character_by_character(text):
    assert len(plain(text)) == len(plain(text).casefold())
