"""One notation for numbers: ASCII digits, signs and separators, and mathematical notation without LaTeX commands."""

from __future__ import annotations

import re
import unicodedata

from distillery_trainer.parsing.numbers import words
from distillery_trainer.parsing.numbers.lists import with_spaces_in_brackets

_MARKS = str.maketrans(
    dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-")
    | dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000\u2002\u2003", " ")
    | {"\u066b": ".", "\uff0e": ".", "\u066c": ",", "\uff0c": ",", "\u066a": "%", "\uff05": "%", "\u2044": "/"}
    | {"\u2019": "'", "\uff0f": "/", "\uff0b": "+", "\uff1d": "=", "\uff04": "$", "\u02bc": "'", "\ufe0f": ""}
    | {"\uff08": "(", "\uff09": ")", "\uff1a": ":", "\uffe5": "\u00a5", "\u2217": "*", "\u2215": "/"}
)
"""Minus signs and hyphens, spaces, and the marks of Arabic and full-width numbers."""
_SPACE_IN_NUMBER = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3})")
_LATEX_FRACTION = re.compile(r"\\[dtc]?frac\s*\{\s*(-?\s*\d{1,30})\s*\}\s*\{\s*(\d{1,30})\s*\}")
_LATEX_FRACTION_OF_DIGITS = re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)")
_LATEX_IN_NUMBER = re.compile(r"\{,\}|\\!|\\(?=[%$])")
_WRAPPED = re.compile(r"\\boxed\s*\{([^{}]*)\}|\\text\s*\{([^{}]*)\}")


def normalize(text: str) -> str:
    """The text with one kind of digit, minus, separator and percent sign, and without LaTeX commands in numbers."""
    return _WRAPPED.sub(r" \1\2 ", _with_fractions(_in_ascii(text)))


def _in_ascii(text: str) -> str:
    if not text.isascii():
        text = "".join(map(_ascii_digit, text))
        text = _SPACE_IN_NUMBER.sub("'", text).translate(_MARKS)
    return _LATEX_IN_NUMBER.sub(lambda match: "," if match[0] == "{,}" else "", text)


def _with_fractions(text: str) -> str:
    return _LATEX_FRACTION_OF_DIGITS.sub(r" \1/\2 ", _LATEX_FRACTION.sub(r" \1/\2 ", text))


def _ascii_digit(character: str) -> str:
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if character.isnumeric() and unicodedata.decomposition(character).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/")
    return character


# --- mathematical notation

_GROUPED_BY_SPACES = re.compile(r"(?<![\d.,'_])(?<!\d )\d{1,3}+(?: \d{3}(?!\d))++")
_SUPERSCRIPTS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b]+")
_AS_DIGITS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-")
_NEWLINE = re.compile(r"\\\\(?![a-zA-Z])")
_SPACING = re.compile(
    r"\\(?:[,;: ()\[\]]|(?:left|right|[bB]igg?[lr]?|q?quad|displaystyle|bf|rm|it|large|Large|huge|Huge)(?![a-zA-Z]))"
)
_WRAPPER = re.compile(
    r"\\(?:text(?:bf|rm|it|sf|tt|normal)?|math(?:bf|rm|it|sf|bb|tt)?|mbox|hbox|emph|bm|boldsymbol|underline|operatorname)"
    r"\s*\{([^{}]*)\}"
)
_LATEX_SYMBOLS = {
    "times": "\u00d7", "cdot": "\u00d7", "ast": "*", "div": "\u00f7", "pm": "\u00b1", "mp": "\u00b1",
    "approx": "\u2248", "sim": "\u2248", "simeq": "\u2248", "cong": "\u2248", "ne": "\u2260", "neq": "\u2260",
    "le": "\u2264", "leq": "\u2264", "lt": "<", "ge": "\u2265", "geq": "\u2265", "gt": ">",
    "dots": "\u2026", "ldots": "\u2026", "cdots": "\u2026", "infty": "\u221e", "degree": "\u00b0", "circ": "\u00b0",
    "therefore": "\u2234", "to": "\u2192", "rightarrow": "\u2192", "Rightarrow": "\u21d2", "implies": "\u21d2",
}  # fmt: skip
_SYMBOL = re.compile(rf"\\({'|'.join(sorted(_LATEX_SYMBOLS, key=len, reverse=True))})(?![a-zA-Z])")
_DEGREES = re.compile(r"\^\s*(?:\{\s*\u00b0\s*\}|\u00b0)")
_SPACED_POWER = re.compile(r"(?<! ) +\^")
_POWER_OF_TEN = re.compile(
    r"(?<!\d)10 ?(?:\^|\*\*) ?(?:\{\s*([-+]?\d{1,3})\s*\}|\(([-+]?\d{1,3})\)|([-+]?\d{1,3})(?!\d))"
)
_EMPHASIS = re.compile(r"\*{2,3}(?!\d)|(?<!\d)\*{2,3}|(?<!\w)__|__(?!\w)")
_ITALIC = re.compile(r"(?<![\w*)])\*([^\s*](?:[^*\n]{0,60}[^\s*])?)\*(?![\w*(])")


def mathematical(text: str) -> str:
    """The text as `normalize` leaves it, but with `\\boxed{}`, and with operators, powers of ten, digits that spaces
    group, and "minus" before a number each written in one way."""
    text = _SPACING.sub(" ", _NEWLINE.sub("\n", _in_ascii(_without_emphasis(text))))
    text = _DEGREES.sub("\u00b0", _SYMBOL.sub(lambda match: _LATEX_SYMBOLS[match[1]], text))
    text = _SPACED_POWER.sub("^", _with_fractions(_WRAPPER.sub(r" \1 ", _WRAPPER.sub(r" \1 ", text))))
    text = _SUPERSCRIPTS.sub(lambda match: "^" + match[0].translate(_AS_DIGITS), text)
    text = _POWER_OF_TEN.sub(lambda match: f"10^{match[1] or match[2] or match[3]}", text)
    text = with_spaces_in_brackets(words.MINUS.sub("-", text))
    return _GROUPED_BY_SPACES.sub(lambda match: match[0].replace(" ", ""), text)


def _without_emphasis(text: str) -> str:
    return _ITALIC.sub(r"\1", _EMPHASIS.sub("", text))
