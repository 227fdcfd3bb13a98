"""When two texts are alike to a reader: one way to compare labels, for their validation, for gold and for replies."""

from __future__ import annotations

import re
import unicodedata

INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0100-\U000e01ef"
)
"""Soft hyphens, joiners, direction marks and variation selectors, for a character class of a pattern."""
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_SAME_MARKS = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2212", "-")
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f\u300a\u300b", '"')
    | {"\u3010": "[", "\u3011": "]", "\u3002": ".", "\u3001": ",", "\u3000": " "}
)
"""Hyphens, quotes and the punctuation of East Asia, each as one character."""
_SAME_WIDTH = str.maketrans(
    {
        chr(code): unicodedata.normalize("NFKC", chr(code))
        for code in range(0xFF01, 0xFFEF)
        if unicodedata.decomposition(chr(code)).startswith(("<wide>", "<narrow>"))
    }
)
_FOLDED_TO_SEVERAL = str.maketrans(
    {
        chr(code): chr(code).casefold()
        for codes in (range(0xDF, 0x588), range(0x1E96, 0x1FFD), range(0xFB00, 0xFB18))
        for code in codes
        if len(chr(code).casefold()) > 1
    }
    # Whoever types Turkish on another keyboard, or lets a program change its case, confuses the two letters.
    | {"\u0130": "I", "\u0131": "i"}
)
_MAX_MARKS = 30
"""Combining marks on one letter that count (the stream-safe format of UAX 15), since to sort more takes quadratic
time."""

_MAX_SURROUNDED = 400
"""Characters. Nothing around a longer text is removed."""
_AROUND = re.compile(
    r"(?P<emphasis>[*_~]{1,3}|[\"'`]{1,3}|\$)(?=\S)(?P<emphasised>.+)(?<=\S)(?P=emphasis)"
    r"|\((?P<round>[^()]+)\)|\[(?P<square>[^][]+)\]|\{(?P<curly>[^{}]+)\}"
    r"|(?:[-*>\u2022]|#{1,6})\s+(?P<listed>(?!\d).+)"
    r"|(?P<opened>[^(]+)\)|\((?P<closed>[^)]+)"
    r"|[\"'`]+(?P<quoted>.+)|(?P<unquoted>.+?)[\"'`]+"
    r"|(?P<ended>.+?)[\s.,;:!\u2026]+"
)
"""Emphasis, quotes, brackets, a list mark, or punctuation at the end."""


def plain(text: str) -> str:
    """The text without differences that no reader sees: one form of composed and of full-width characters, of hyphens
    and quotes, and no invisible characters. Case and white space stay.

    `plain(text).casefold()` has the same length, character by character.
    """
    if text.isascii():
        return text
    visible = _INVISIBLE.sub("", text).translate(_SAME_WIDTH).translate(_SAME_MARKS)
    composed = unicodedata.normalize("NFC", with_few_marks(visible))
    return composed.replace("i\u0307", "i").translate(_FOLDED_TO_SEVERAL)


def comparable(text: str) -> str:
    """The text for comparison: case (also of Turkish and German), white space, and what `plain` removes do not
    matter."""
    return " ".join(plain(text).casefold().split())


def label_key(text: str) -> str:
    """What tells a label from others: `comparable` without punctuation, quotes, brackets or emphasis around it.

    C, C# and C++ have different keys, as have A and A*; C, **C** and (C). have the same. What consists of punctuation
    alone is its own key.
    """
    key = comparable(text)
    while len(key) <= _MAX_SURROUNDED and (found := _AROUND.fullmatch(key)):
        inner = next(group for name, group in found.groupdict().items() if group and name != "emphasis").strip()
        if not _is_more_than_punctuation(inner) and not _is_emphasised_sign(found):
            break
        key = inner
    return key


def _is_more_than_punctuation(text: str) -> bool:
    """Whether a text has letters, digits or pictures, so that it is no smiley such as :)."""
    return any(character.isalnum() or unicodedata.category(character) == "So" for character in text)


def _is_emphasised_sign(around: re.Match[str]) -> bool:
    """Whether it is a sign such as **++**, with other characters around it than its own."""
    return around["emphasised"] is not None and not set("*_~\"'`$") & set(around["emphasised"])


def with_few_marks(text: str) -> str:
    """The text with at most 30 combining marks on one letter."""
    if text.isascii():
        return text
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)
