"""One plain number: sign, currency, digits or fraction, power of ten, scale word, percent, and a unit that changes
nothing. Whatever else stands beside it makes it something else."""

from __future__ import annotations

import re
from fractions import Fraction

from distillery_trainer.parsing.numbers import numerals, words
from distillery_trainer.parsing.numbers.notation import mathematical

_CURRENCY = rf"(?:(?:US|A|C|R|HK|NZ)?[{numerals.CURRENCY}]|\b(?:USD|EUR|GBP|INR|Rs\.?|CHF|JPY)\b)"
PLAIN = re.compile(
    rf"(?P<sign>[-+]?) ?(?P<currency>{_CURRENCY}?) ?(?P<inner>[-+]?) ?"
    rf"(?:{numerals.FRACTION}|(?P<digits>{numerals.DIGITS}))"
    r"(?P<power> ?[\u00d7*x\u00b7] ?10\^(?P<exponent>[-+]?\d{1,3})(?!\d))?"
    rf"(?: ?(?P<scale>{'|'.join(numerals.SCALES)})\b)?(?P<percent> ?(?:%|percent\b|per cent\b))?",
    re.IGNORECASE,
)
_BOX = re.compile(r"\\f?boxed\s*\{((?:[^{}\\]|\\(?!f?boxed)|\{[^{}]*\})*+)\}")
_BEFORE = re.compile(r"[\s\"'`*_,:;(\[{#=$\u201c\u201d\u2018\u00ab]*+")
_AFTER = re.compile(rf"[\s\"'`*_,:;)\]}}.{numerals.CURRENCY}\u201c\u201d\u2019\u00bb\u3002]*+")
_MAX_LENGTH = 1000
"""Maximum length of a text that is a single number."""
_MAX_TAIL = 300
"""Characters after a number that may say what it is part of."""

_NOT_AT_END = re.compile(
    r"\s*[\u00d7\u00b7\u00f7^=<>\u2264\u2265\u2260\u2248\u00b1\u221a\u03c0\u221e|\u2030\u00a2_\\~\u2192\u21d2\u2026+?!\u2032-\u2037]"
    r"|[(\[{'\u00b0](?=\S*\d)|\s*\.\.|\.\d|\s*\*+\s*[\w(\\$-]|\s+\*|\s*-\s?(?:[\d.($+-]|[A-Za-z]\b|\Z)|-\w"
    r"|\s*/\s*(?:[^A-Za-z\s]|[abcijknpqrtuvwxyz]\b)|\s*:\s?[-$]?\d|:\w|\s*\(\s*[-$.\d]"
    rf"|\s*[,;]\s*(?:[-+{numerals.CURRENCY}]\s?)?\.?\d|\s*[,;&]\s*\(?\w{{1,3}}\s*=|\s+[xX]\s|\s*[\u0300-\u036f\u20d0-\u20ff\u2080-\u209c]"
    r"|\s+(?:of\s+)?(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b"
    r"|\s+(?:in|for|of|from|by|per|to|at|on|off|over|and|under|into)\s+[-$\u20ac]?\.?\d"
)
_UNITS_WITH_DIGITS = re.compile(r"\b[a-zA-Z]{1,4}(?:\^-?\d|\d\b)")
_LETTER = re.compile(r" ([^\W\d_])(?![\w'.])")
_LATIN = re.compile(r"[A-Za-z\u00b0\u00ba\u00b5\u0370-\u03ff][^\W\d_]*")


def parse(text: str) -> str | None:
    """The number that the whole text consists of, in canonical form; None for any other text.

    Quotes, emphasis, brackets, currency, LaTeX's `\\boxed{}` and thousands separators may stand in and around it.
    """
    if len(text) > _MAX_LENGTH:
        return None
    text = mathematical(text)
    if box := _BOX.match(text, _BEFORE.match(text).end()):  # type: ignore[union-attr] # matches every text
        text = f"{box[1]} {text[box.end() :]}"
    match = PLAIN.match(text, _BEFORE.match(text).end())  # type: ignore[union-attr] # matches every text
    if match is None or re.match(r"\s*\.\.|\.\d|_", text[match.end() :]) or not _AFTER.fullmatch(text, match.end()):
        return None
    return literal_of(match)


def literal_of(match: re.Match[str]) -> str | None:
    """The number in a match of PLAIN, in canonical form; None if its digits are not those of one number."""
    signs = match["sign"] + match["inner"]
    value = numerals.value_of_fraction(match) if match["over"] else numerals.value_of_digits(match["digits"])
    if value is None or len(signs) > 1:
        return None
    exponent = int(match["exponent"] or 0) + numerals.SCALES.get((match["scale"] or "").lower(), 0)
    number = value * Fraction(10) ** exponent * (-1 if signs == "-" else 1)
    return numerals.literal(number) + ("%" if match["percent"] else "")


def number_at(text: str, start: int) -> tuple[str, int] | None:
    """The plain number at a position of a text in mathematical notation, and its end; None where there is none."""
    match = PLAIN.match(text, start)
    if match is None or not _ends_plainly(match, text[match.end() : match.end() + _MAX_TAIL]):
        return None
    found = literal_of(match)
    return None if found is None else (found, match.end())


def _ends_plainly(match: re.Match[str], after: str) -> bool:
    """Whether what follows a number leaves it what it is."""
    if glued := re.match(r"[^\W\d_\u00b0\u00ba]+|[\u00b0\u00ba]", after):
        unit = words.UNIT.match(after)
        if _LATIN.match(glued[0]) and (match["currency"] or not unit):
            return False
        if unit and re.match(r"m [a-z]|[\u00b0\u00ba] ?[NSEW]\b", after):  # 5m people, 40\u00b0 N
            return False
        after = after[unit.end() :] if unit else after
    return not changes_value(after, percent=bool(match["percent"]))


def changes_value(after: str, *, percent: bool = False) -> bool:
    """Whether what follows a number makes it another one, or one of several."""
    return bool(_NOT_AT_END.match(after)) or _is_letter(after) or _goes_on(after, percent)


def _is_letter(after: str) -> bool:
    """Whether a variable, or an abbreviated scale such as M, follows after a space."""
    letter = _LETTER.match(after)
    return letter is not None and letter[1] not in words.LETTER_UNIT


def _goes_on(after: str, percent: bool) -> bool:
    """Whether the sentence makes the number part of another one, or of several."""
    sentence = re.split(r"\n|[.!?;](?=\s|$|[\"')*])|[\u3002\uff01\uff1f\uff1b]", after, maxsplit=1)[0]
    said = words.EXPLANATION.split(sentence, maxsplit=1)[0]
    bracketed = re.match(r"\s*\(([^)]*)", sentence)
    if words.CHANGES_VALUE.search(said) or (bracketed and words.CHANGES_VALUE.search(bracketed[1])):
        return True
    of = r"|\bof\b" if percent else ""
    return re.search(rf"\d{of}", _UNITS_WITH_DIGITS.sub("", said)) is not None
