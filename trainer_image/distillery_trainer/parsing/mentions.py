"""Where a text mentions labels, as whole words of any script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from distillery_api.comparable import label_key

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that put no space between words, or none before an ending, for a character set in a pattern."""
_HANGUL = "\uac00-\ud7a3"
_LETTER = rf"[^\W{UNSPACED}]"
_COMMON_WORDS = re.compile(
    "no|not|non|none|neither|never|either|both|all|any|some|others?|one|two|so|or|and|it|is|this|that|to|in|on|off|up|down"
    "|true|false|right|wrong|(?:in)?correct|(?:im)?possible|(?:un)?likely|good|bad|same"
)
"""Labels that prose is full of."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A label in a text."""

    label: str
    start: int
    end: int
    is_common: bool
    """Whether prose has such words or letters that mean no label: a letter, a number, a sign, "no"."""
    is_phrase: bool
    """Whether it is the text of an option."""


@dataclass(frozen=True, slots=True)
class _Entry:
    label: str
    is_common: bool
    is_phrase: bool


class MentionFinder:
    """Finds labels, and the texts that stand for them (`phrases`: label by text), in prose."""

    def __init__(self, labels: Iterable[str], phrases: Mapping[str, str]) -> None:
        entries = {label_key(label): label for label in labels}
        self._entries = {key: _Entry(label, is_common(key), is_phrase=False) for key, label in entries.items()}
        for text, label in phrases.items():
            self._entries.setdefault(label_key(text), _Entry(label, is_common=False, is_phrase=True))
        self.marks = "".join(mark for mark in "*`" if any(mark in key for key in self._entries))
        """Marks of emphasis that are part of a label."""
        longest_first = sorted(filter(None, self._entries), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(self._whole, longest_first)) or r"(?!)")

    def find(self, folded: str) -> list[Mention]:
        """All labels in a text in lower case, in order; of labels that contain one another, the longest."""
        return [
            Mention(entry.label, match.start(), match.end(), entry.is_common, entry.is_phrase)
            for match in self._pattern.finditer(folded)
            for entry in (self._entries[" ".join(match[0].split())],)
        ]

    def _whole(self, key: str) -> str:
        inner = r"\s+".join(map(re.escape, key.split()))
        return self._before(key) + inner + self._after(key)

    def _before(self, key: str) -> str:
        first = key[0]
        if re.match(f"[{_HANGUL}]", first):
            return f"(?<![{_HANGUL}])"
        if re.match(f"[{UNSPACED}]", first):
            return ""
        if not re.match(r"\w", first):
            return r"(?<![\w#+*&@%^~=<>\\|-])"
        joined = rf"(?<!{_LETTER})(?<![#+@&\\])"
        if first.isdigit():
            return joined + r"(?<![.,\u2212$-])"
        return joined + (rf"(?<!{_LETTER}[-'])(?<!\.)" if is_common(key) else "")

    def _after(self, key: str) -> str:
        last = key[-1]
        if re.match(f"[{UNSPACED}]", last):
            return ""
        if not re.match(r"\w", last):
            return r"(?![\w#+*&@%^~=<>\\|-])"
        joined = rf"(?!{_LETTER})(?![#+%\u2019])(?!['-]{_LETTER})" + (r"(?!\*)" if "*" in self.marks else "")
        return joined + (r"(?![.,:]\d)(?!\s?/\s?\d)" if last.isdigit() else "")


def is_common(key: str) -> bool:
    """Whether prose has a label that means no label there."""
    return len(key) == 1 or _COMMON_WORDS.fullmatch(key) is not None or not any(map(str.isalpha, key))
