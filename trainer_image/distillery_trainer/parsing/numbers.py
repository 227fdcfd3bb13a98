"""Numbers as people and models write them: found, brought into canonical form, and compared.

The canonical form is a JSON literal without redundant digits (72 for 72.0 and 7.2e1). A fraction that is not equal to a
short decimal stays one (1/3), and a percentage keeps its sign (50%).
"""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

_MARKS = str.maketrans(
    dict.fromkeys("\u2212\u2012\u2013\ufe63\uff0d", "-")
    | dict.fromkeys("\u00a0\u2007\u2009\u202f\u2019", "'")
    | {"\u066b": ".", "\uff0e": ".", "\u066c": ",", "\uff0c": ",", "\u066a": "%", "\uff05": "%", "\u2044": "/"}
)
"""Minus signs, spaces within numbers, and the marks of Arabic and full-width numbers."""
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_LATEX = re.compile(r"\{,\}|\\[,!;]|\\(?=[%$])")
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}|\\text\s*\{([^{}]*)\}")
_SPACED_GROUPS = re.compile(r"(?<!\d)\d{1,3}(?: \d{3})+(?!\d)")

_CURRENCY = "$\u20ac\u00a3\u00a5\u20b9\u20bd\u20a9"
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_FRACTION = r"(?>(?P<whole>\d{1,9}) )?(?<!/)(?P<over>\d{1,18}+) ?/ ?(?P<under>\d{1,18}+)(?![\d/])"
_DIGITS = r"(?>\d+(?:[.,'_]\d+)*|\.\d+)(?>[eE][-+]?\d{1,2}(?!\w))?(?!e[-+]?\d)"


def _pattern(before: str, after: str) -> re.Pattern[str]:
    return re.compile(
        rf"{before}(?P<sign>(?:(?<!\w)[-+])?)(?:[{_CURRENCY}] ?(?P<inner>-?))?"
        rf"(?:{_FRACTION}|(?P<digits>{_DIGITS})){after}"
        rf"(?: ?(?P<scale>{'|'.join(_SCALES)})s?\b)?(?P<percent> ?(?:%|percent\b|per cent\b))?",
        re.IGNORECASE,
    )


_STANDALONE = _pattern(r"(?<![\w.])", r"(?!(?:st|nd|rd|th)\b)")
_ANYWHERE = _pattern(r"(?<![\d.])", "")

_GROUPS = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:,\d{2,3})*,\d{3})(?:\.(?P<rest>\d+))?")
# A single point is a decimal point: 1.234 is a little more than one.
_DOTTED_GROUPS = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:(?:\.\d{3}){2,}|\.\d{3}(?=,)))(?:,(?P<rest>\d+))?")
_APOSTROPHE_GROUPS = re.compile(r"\d{1,3}(?:['_]\d{3})+")

_SURROUNDING_CHARACTERS = f" \t\r\n\"'`*_.,:;!()[]{{}}<>#=\\{_CURRENCY}"
_MAX_DIGITS = 400
"""Maximum digits of a number."""
_MAX_DECIMALS = 100
"""Maximum digits after the point for a fraction to be written as a decimal."""


@dataclass(frozen=True, slots=True)
class FoundNumber:
    """A number in a text."""

    literal: str
    """In canonical form."""
    magnitude: str
    """The same without sign, percent sign and scale word (such as million), in canonical form."""
    start: int
    """Its position in `normalize(text)`."""
    end: int


def normalize(text: str) -> str:
    """The text with one kind of digit, minus, separator and percent sign, and without LaTeX commands in numbers."""
    text = _BOXED.sub(r" \1\2 ", _LATEX.sub("", _LATEX_FRACTION.sub(r" \1/\2 ", text.translate(_MARKS))))
    return text if text.isascii() else "".join(map(_ascii_digit, text))


def _ascii_digit(character: str) -> str:
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if character.isnumeric() and unicodedata.decomposition(character).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/")
    return character


def find_in_prose(text: str) -> list[FoundNumber]:
    """The numbers in a normalised text, in order, except those in names (GPT4) and ranks (3rd)."""
    return [found for match in _STANDALONE.finditer(text) for found in _numbers_in(match)]


def find_anywhere(text: str) -> list[FoundNumber]:
    """All numbers in a normalised text, including those in names and ranks."""
    return [found for match in _ANYWHERE.finditer(text) for found in _numbers_in(match)]


def parse(text: str) -> str | None:
    """The number that the whole text consists of, in canonical form; None for any other text.

    Quotes, emphasis, currency, LaTeX's `\\boxed{}` and thousands separators may stand in and around it.
    """
    text = _SPACED_GROUPS.sub(lambda match: match[0].replace(" ", ""), normalize(text)).strip()
    found = find_in_prose(text)
    if len(found) != 1:
        return None
    around = text[: found[0].start] + text[found[0].end :]
    return None if around.strip(_SURROUNDING_CHARACTERS) else found[0].literal


def equal(answer: str, gold: str) -> bool:
    """Whether two numbers are equal, to six decimals (math-verify). False if one of them is not a number.

    An answer in percent counts as a hundredth of its figure, unless the gold answer is a percentage, too; then the sign
    is optional.
    """
    number, reference = parse(answer), parse(gold)
    if number is None or reference is None:
        return False
    if reference.endswith("%"):
        number, reference = number.rstrip("%"), reference.rstrip("%")
    return number == reference or _verified(_percent_as_fraction(number), reference)


def _percent_as_fraction(literal: str) -> str:
    return _literal(exact_value(literal) / 100) if literal.endswith("%") else literal


def exact_value(literal: str) -> Fraction:
    """The exact value of a number in canonical form; of a percentage, the value before the sign."""
    over, _, under = literal.rstrip("%").partition("/")
    return Fraction(over) / int(under or 1)


# --- canonical form


def _numbers_in(match: re.Match[str]) -> list[FoundNumber]:
    """The number in a match; several for a list without spaces (1,2,3), none for a version (1.2.3)."""
    values = _of_fraction(match) if match["over"] else _of_digits(match["digits"])
    negative = "-" in (match["sign"], match["inner"])
    factor = 10 ** _SCALES.get((match["scale"] or "").lower(), 0) * (-1 if negative else 1)
    ending = "%" if match["percent"] else ""
    return [
        FoundNumber(_literal(number * factor) + ending, _literal(number), match.start(), match.end())
        for number in values
    ]


def _of_fraction(match: re.Match[str]) -> list[Fraction]:
    under = int(match["under"])
    return [Fraction(int(match["over"]), under) + int(match["whole"] or 0)] if under else []


def _of_digits(digits: str) -> list[Fraction]:
    if len(digits) > _MAX_DIGITS:
        return []
    number, mark, exponent = digits.lower().partition("e")
    number = number.replace("'", "").replace("_", "") if _APOSTROPHE_GROUPS.match(number) else number
    standard = _without_groups(number)
    if standard is not None:
        return [Fraction(standard + mark + exponent)]
    pieces = number.split(",")
    return [value for piece in pieces for value in _of_digits(piece)] if len(pieces) > 1 else []


def _without_groups(number: str) -> str | None:
    """The digits with at most one decimal point; None if points and commas are not those of a number."""
    for groups, separator in ((_GROUPS, ","), (_DOTTED_GROUPS, ".")):
        if found := groups.fullmatch(number):
            return f"{found['whole'].replace(separator, '')}.{found['rest'] or 0}"
    return number.replace(",", ".") if re.fullmatch(r"\d*[.,]?\d+", number) else None


def _literal(number: Fraction) -> str:
    if 10**_MAX_DECIMALS % number.denominator:
        return str(number)
    digits = f"{abs(number.numerator) * 10**_MAX_DECIMALS // number.denominator:0{_MAX_DECIMALS + 1}d}"
    sign = "-" if number < 0 else ""
    return sign + f"{digits[:-_MAX_DECIMALS]}.{digits[-_MAX_DECIMALS:]}".rstrip("0").rstrip(".")


# --- equality


def _verified(answer: str, gold: str) -> bool:
    parse, verify = _math_verify()
    return bool(verify(parse(gold, parsing_timeout=None), parse(answer, parsing_timeout=None), timeout_seconds=None))


@cache
def _math_verify() -> tuple[Any, Any]:
    from math_verify import parse, verify

    # Its timeouts use signals, which only work in the main thread. Single numbers need no timeout.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return parse, verify
