"""When two numbers are the same answer."""

from __future__ import annotations

from fractions import Fraction

from distillery_trainer.parsing.numbers.numerals import exact_value
from distillery_trainer.parsing.numbers.plain import parse

_TOLERANCE = Fraction(1, 10**6)
"""How much two numbers may differ, as a share of the larger one: a result that was rounded to six digits is right."""


def equal(answer: str, gold: str) -> bool:
    """Whether two numbers are equal, up to rounding. False if one of them is not a number.

    They may differ by a millionth of the larger one, but not in a digit that both of them write: 0.333333 equals 1/3,
    while 1000001 does not equal 1000000, nor 6.6e-34 1.6e-19. An answer in percent counts as a hundredth of its figure,
    unless the gold answer is a percentage, too; then the sign is optional.
    """
    number, reference = parse(answer), parse(gold)
    if number is None or reference is None:
        return False
    is_fraction = number.endswith("%") and not reference.endswith("%")
    return _close(exact_value(number) / (100 if is_fraction else 1), exact_value(reference))


def _close(number: Fraction, reference: Fraction) -> bool:
    difference = abs(number - reference)
    if difference > _TOLERANCE * max(abs(number), abs(reference)):
        return False
    decimals = [places for places in map(_decimals, (number, reference)) if places is not None]
    return difference == 0 or (bool(decimals) and difference < Fraction(1, 10 ** min(decimals)))


def _decimals(number: Fraction) -> int | None:
    """Digits after the point; None for a fraction such as 1/3 that no number of digits writes."""
    twos, rest = _exponent_of(2, number.denominator)
    fives, rest = _exponent_of(5, rest)
    return max(twos, fives) if rest == 1 else None


def _exponent_of(prime: int, number: int) -> tuple[int, int]:
    exponent = 0
    while number % prime == 0:
        number, exponent = number // prime, exponent + 1
    return exponent, number
