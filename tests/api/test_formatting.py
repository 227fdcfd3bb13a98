"""Texts of others as people are shown them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_api.formatting import cleaned, shortened, valid_unicode, without_hidden_characters
from linear_time import linear_time


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Too  many\nrequests ", "Too many requests"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;a title\x07words", "words"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b", "a"),
        ("a\rb", "a b"),
        ("b\x08\x00\x7f\x85c", "b c"),
        ("\u202egnp.exe\u2066", "gnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("one\u2028two", "one two"),
        ("half \ud83d", "half \ufffd"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("naïve 日本 😀", "naïve 日本 😀"),
        ("", ""),
    ],
)
def test_text_of_others_is_shown_on_one_line_and_without_hidden_characters(text, shown):
    assert cleaned(text, 100) == shown


def test_long_text_of_others_is_cut():
    assert cleaned("a" * 400, 300) == "a" * 297 + "…"
    assert cleaned(" " * 100_000 + "a", 300) == "…"


def test_line_ends_and_tabs_can_stay():
    assert without_hidden_characters("one\n\ttwo\r\n\x1b[1mthree") == "one\n\ttwo\nthree"


@pytest.mark.parametrize(
    ("text", "valid"), [("\ud83d", "\ufffd"), ("\ude00\ud83d", "\ufffd\ufffd"), ("\ud83d\ude00", "😀"), ("ä", "ä")]
)
def test_half_a_character_is_replaced(text, valid):
    assert valid_unicode(text) == valid


@settings(deadline=None)
@given(st.text(st.characters()) | st.text("\x1b[]\x9b\x90;m\x07\ud83d\u202e a"), st.integers(3, 50))
def test_shown_text_is_short_printable_unicode(text, limit):
    shown = cleaned(text, limit)
    assert len(shown.encode()) <= limit
    assert not any(character in shown for character in "\x1b\x9b\x07\u202e\n\r")
    assert len(shortened(text, limit).encode(errors="replace")) <= limit


@pytest.mark.parametrize("text", ["\x1b", "\x1b[", "\x1b]", "\x1b[0", "\x90", "\x1bP\x1b", " ", "\u202e", "\ud83d"])
def test_pathological_text_is_read_in_linear_time(text):
    with linear_time():
        without_hidden_characters(text * (65_536 // len(text)))
