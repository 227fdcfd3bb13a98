"""Numbers as people and models write them: found, brought into one form, and compared.

The form is a JSON literal without needless digits (72 for 72.0 and 7.2e1). A fraction that no short decimal is equal to
stays one (1/3), and a percentage keeps its sign (50%).
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


_STANDING = _pattern(r"(?<![\w.])", r"(?!(?:st|nd|rd|th)\b)")
_ANYWHERE = _pattern(r"(?<![\d.])", "")

_GROUPS = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:,\d{2,3})*,\d{3})(?:\.(?P<rest>\d+))?")
# One point alone is a decimal point: 1.234 is a little more than one.
_DOTTED_GROUPS = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:(?:\.\d{3}){2,}|\.\d{3}(?=,)))(?:,(?P<rest>\d+))?")
_APOSTROPHE_GROUPS = re.compile(r"\d{1,3}(?:['_]\d{3})+")

_WRAPPING = f" \t\r\n\"'`*_.,:;!()[]{{}}<>#=\\{_CURRENCY}"
_LONGEST = 400
"""Digits of a number. What is longer is none."""
_DECIMALS = 100
"""Digits after the point, up to which a fraction is written as a decimal."""


@dataclass(frozen=True, slots=True)
class Found:
    """A number in a text."""

    literal: str
    """In its one form."""
    figure: str
    """The same without sign, percent sign and the word million, in the same form."""
    start: int
    """Where it begins in `plain(text)`."""
    end: int


def plain(text: str) -> str:
    """The text with one kind of digit, minus, separator and percent sign, and without what LaTeX puts into numbers."""
    text = _BOXED.sub(r" \1\2 ", _LATEX.sub("", _LATEX_FRACTION.sub(r" \1/\2 ", text.translate(_MARKS))))
    return text if text.isascii() else "".join(map(_ascii_digit, text))


def _ascii_digit(mark: str) -> str:
    if mark.isdecimal():
        return str(unicodedata.decimal(mark))
    if mark.isnumeric() and unicodedata.decomposition(mark).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", mark).replace("\u2044", "/")
    return mark


def in_prose(text: str) -> list[Found]:
    """The numbers in a text from `plain`, in order, but for those that are part of a name (GPT4) or a rank (3rd)."""
    return [found for match in _STANDING.finditer(text) for found in _values(match)]


def anywhere(text: str) -> list[Found]:
    """All numbers in a text from `plain`, also those in names and ranks."""
    return [found for match in _ANYWHERE.finditer(text) for found in _values(match)]


def read(text: str) -> str | None:
    """The number that the whole text is, in its one form; None for any other text.

    Quotes, emphasis, currency, LaTeX's `\\boxed{}` and thousands separators may stand in and around it.
    """
    text = _SPACED_GROUPS.sub(lambda match: match[0].replace(" ", ""), plain(text)).strip()
    found = in_prose(text)
    if len(found) != 1:
        return None
    around = text[: found[0].start] + text[found[0].end :]
    return None if around.strip(_WRAPPING) else found[0].literal


def equal(answer: str, gold: str) -> bool:
    """Whether two numbers are the same, to six decimals (math-verify). False where one of them is none.

    An answer in percent is a hundredth of its figure, unless the known answer is a percentage, too; then the sign may
    also be left out.
    """
    given, known = read(answer), read(gold)
    if given is None or known is None:
        return False
    if known.endswith("%"):
        given, known = given.rstrip("%"), known.rstrip("%")
    return given == known or _verified(_hundredth(given), known)


def _hundredth(literal: str) -> str:
    return _literal(value(literal) / 100) if literal.endswith("%") else literal


def value(literal: str) -> Fraction:
    """The exact value of a number in its one form; of a percentage, its figure."""
    over, _, under = literal.rstrip("%").partition("/")
    return Fraction(over) / int(under or 1)


# --- one form


def _values(match: re.Match[str]) -> list[Found]:
    """The number of a match; several for a list without spaces (1,2,3), none for a version (1.2.3)."""
    values = _of_fraction(match) if match["over"] else _of_digits(match["digits"])
    negative = "-" in (match["sign"], match["inner"])
    factor = 10 ** _SCALES.get((match["scale"] or "").lower(), 0) * (-1 if negative else 1)
    ending = "%" if match["percent"] else ""
    return [
        Found(_literal(number * factor) + ending, _literal(number), match.start(), match.end()) for number in values
    ]


def _of_fraction(match: re.Match[str]) -> list[Fraction]:
    under = int(match["under"])
    return [Fraction(int(match["over"]), under) + int(match["whole"] or 0)] if under else []


def _of_digits(digits: str) -> list[Fraction]:
    if len(digits) > _LONGEST:
        return []
    number, mark, exponent = digits.lower().partition("e")
    number = number.replace("'", "").replace("_", "") if _APOSTROPHE_GROUPS.match(number) else number
    standard = _without_groups(number)
    if standard is not None:
        return [Fraction(standard + mark + exponent)]
    pieces = number.split(",")
    return [value for piece in pieces for value in _of_digits(piece)] if len(pieces) > 1 else []


def _without_groups(number: str) -> str | None:
    """Digits with at most a decimal point between them; None where points and commas stand as in no number."""
    for groups, separator in ((_GROUPS, ","), (_DOTTED_GROUPS, ".")):
        if found := groups.fullmatch(number):
            return f"{found['whole'].replace(separator, '')}.{found['rest'] or 0}"
    return number.replace(",", ".") if re.fullmatch(r"\d*[.,]?\d+", number) else None


def _literal(number: Fraction) -> str:
    if 10**_DECIMALS % number.denominator:
        return str(number)
    digits = f"{abs(number.numerator) * 10**_DECIMALS // number.denominator:0{_DECIMALS + 1}d}"
    sign = "-" if number < 0 else ""
    return sign + f"{digits[:-_DECIMALS]}.{digits[-_DECIMALS:]}".rstrip("0").rstrip(".")


# --- equality


def _verified(answer: str, gold: str) -> bool:
    parse, verify = _math_verify()
    return bool(verify(parse(gold, parsing_timeout=None), parse(answer, parsing_timeout=None), timeout_seconds=None))


@cache
def _math_verify() -> tuple[Any, Any]:
    from math_verify import parse, verify

    # Its time-outs are signals, which only work in the main thread. Single numbers need none.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return parse, verify
