"""All numbers of a text, each by itself, whatever the text says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from distillery_trainer.parsing.numbers import numerals

# Nothing after the digits can fail, or a long list of digits would be searched from each of them.
_NUMBER = (
    rf"(?P<sign>(?:(?<!\w)[-+])?)(?:[{numerals.CURRENCY}] ?(?P<inner>-?))?"
    rf"(?:{numerals.FRACTION}|(?P<digits>{numerals.DIGITS}))(?P<rank>(?:st|nd|rd|th)\b)?(?P<malformed>e[-+]?\d)?"
    rf"(?: ?(?P<scale>{'|'.join(numerals.SCALES)})s?\b)?(?P<percent> ?(?:%|percent\b|per cent\b))?"
)
_STANDALONE = re.compile(rf"(?<![\w.]){_NUMBER}", re.IGNORECASE)
_ANYWHERE = re.compile(rf"(?<![\d.]){_NUMBER}", re.IGNORECASE)


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


def find_in_prose(text: str) -> list[FoundNumber]:
    """The numbers in a normalised text, in order, except those in names (GPT4) and ranks (3rd)."""
    return [found for match in _STANDALONE.finditer(text) if not match["rank"] for found in _numbers_in(match)]


def find_anywhere(text: str) -> list[FoundNumber]:
    """All numbers in a normalised text, including those in names and ranks."""
    return [found for match in _ANYWHERE.finditer(text) for found in _numbers_in(match)]


def _numbers_in(match: re.Match[str]) -> Iterator[FoundNumber]:
    """The number in a match; several for a list without spaces (1,2,3), none for a version (1.2.3)."""
    if match["malformed"]:
        return
    negative = "-" in (match["sign"], match["inner"])
    factor = 10 ** numerals.SCALES.get((match["scale"] or "").lower(), 0) * (-1 if negative else 1)
    ending = "%" if match["percent"] else ""
    for number in _values(match):
        yield FoundNumber(
            numerals.literal(number * factor) + ending, numerals.literal(number), match.start(), match.end()
        )


def _values(match: re.Match[str]) -> list[Fraction]:
    if match["over"]:
        value = numerals.value_of_fraction(match)
        return [] if value is None else [value]
    return [value for value in map(numerals.value_of_digits, _pieces(match["digits"])) if value is not None]


def _pieces(digits: str) -> list[str]:
    """The digits themselves, or the numbers of a list without spaces."""
    is_list = len(digits) <= numerals.MAX_DIGITS and numerals.value_of_digits(digits) is None
    return digits.split(",") if is_list else [digits]
