"""The words of a text in any script."""

from __future__ import annotations

import re
import unicodedata

import regex

# Scripts without spaces between words: each letter, with its marks, counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = regex.compile(rf"[{_UNSPACED}]\p{{M}}*")
_WORD = regex.compile(
    rf"[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]*", regex.V1
)
_MANY_MARKS = regex.compile(r"(\p{M}{30})\p{M}+")
"""More marks on a letter than a text has (UAX 15): sorting them takes quadratic time."""
_ASCII_WORD = re.compile("[a-z0-9]+")


def words(text: str) -> list[str]:
    """The words in order, in lower case and normal form (NFKC), without punctuation.

    In Chinese, Japanese, Thai, Lao, Khmer and Burmese, which put no spaces between words, each letter is a word.
    """
    if text.isascii():  # the same words, eight times faster
        return _ASCII_WORD.findall(text.lower())
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", _MANY_MARKS.sub(r"\1", text)).casefold())
    return found


def word_count(text: str) -> int:
    """The number of words as a person counts them: separated by spaces, not counting a dash or bullet alone. In scripts
    without spaces, each letter counts."""
    spaced = text if text.isascii() else _LETTER.sub(" x ", text)
    return sum(any(map(str.isalnum, piece)) for piece in spaced.split())


def with_spaced_letters(text: str) -> str:
    """The text with spaces around each letter of a script that has none between words."""
    return text if text.isascii() else _LETTER.sub(r" \g<0> ", text)
