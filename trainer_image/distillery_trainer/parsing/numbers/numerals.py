"""The digits of one number, as people group them, their exact value, and its canonical form."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

CURRENCY = "$\u20ac\u00a3\u00a5\u20b9\u20bd\u20a9"
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
"""Powers of ten by the words for them."""
FRACTION = r"(?>(?P<whole>\d{1,9}) )?(?<!/)(?P<over>\d{1,18}+) ?/ ?(?P<under>\d{1,18}+)(?![\d/])"
DIGITS = r"(?>\d+(?:[.,'_]\d+)*|\.\d+)(?>[eE][-+]?\d{1,2}(?!\w))?"

_GROUPS = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:,\d{2,3})*,\d{3})(?:\.(?P<rest>\d+))?")
# A single point is a decimal point: 1.234 is a little more than one.
_DOTTED_GROUPS = re.compile(r"(?P<whole>[1-9]\d{0,2}(?:(?:\.\d{3}){2,}|\.\d{3}(?=,)))(?:,(?P<rest>\d+))?")
_APOSTROPHE_GROUPS = re.compile(r"(?P<whole>\d{1,3}(?:['_]\d{3})+)(?P<rest>[.,]\d+)?")
MAX_DIGITS = 400
"""Maximum digits of a number."""
_MAX_DECIMALS = 100
"""Maximum digits after the point for a fraction to be written as a decimal."""


def value_of_fraction(match: re.Match[str]) -> Fraction | None:
    """The value of a match of FRACTION; None if it divides by zero."""
    under = int(match["under"])
    return Fraction(int(match["over"]), under) + int(match["whole"] or 0) if under else None


def value_of_digits(digits: str) -> Fraction | None:
    """The value of a match of DIGITS; None for lists (1,2,3), versions (1.2.3) and more digits than a number has."""
    if len(digits) > MAX_DIGITS:
        return None
    number, mark, exponent = digits.lower().partition("e")
    standard = _without_groups(number)
    return None if standard is None else Fraction(standard + mark + exponent)


def _without_groups(number: str) -> str | None:
    """The digits with at most one decimal point; None if points and commas are not those of a number."""
    if found := _APOSTROPHE_GROUPS.fullmatch(number):
        return re.sub("['_]", "", found["whole"]) + (found["rest"] or "").replace(",", ".")
    for groups, separator in ((_GROUPS, ","), (_DOTTED_GROUPS, ".")):
        if found := groups.fullmatch(number):
            return f"{found['whole'].replace(separator, '')}.{found['rest'] or 0}"
    return number.replace(",", ".") if re.fullmatch(r"\d*[.,]?\d+", number) else None


@lru_cache(maxsize=4096)
def literal(number: Fraction) -> str:
    """A value in canonical form."""
    if number.denominator == 1:
        return str(number.numerator)
    if 10**_MAX_DECIMALS % number.denominator:
        return str(number)
    digits = f"{abs(number.numerator) * 10**_MAX_DECIMALS // number.denominator:0{_MAX_DECIMALS + 1}d}"
    sign = "-" if number < 0 else ""
    return sign + f"{digits[:-_MAX_DECIMALS]}.{digits[-_MAX_DECIMALS:]}".rstrip("0").rstrip(".")


def exact_value(canonical: str) -> Fraction:
    """The exact value of a number in canonical form; of a percentage, the value before the sign."""
    over, _, under = canonical.rstrip("%").partition("/")
    return Fraction(over) / int(under or 1)
