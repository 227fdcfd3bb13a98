"""Lists, pairs and intervals that are written without a space: (1,2) is a point, and no decimal with a comma."""

from __future__ import annotations

import re

_ENCLOSED = re.compile(r"(?<!boxed)(?<!boxed )[(\[{] {0,3}[-+]?\d+(?:,\d+)+ {0,3}\\?[)\]}]")
_PLURAL = re.compile(
    r"\b(?:solutions|roots|values|answers|results|zeroe?s|integers|primes|factors|divisors|points|coordinates|elements"
    r"|pairs?|interval|range|set)\b[^.!?\n\d]{0,60}\d+,\d{1,2}(?![\d,])",
    re.IGNORECASE,
)
_SHORT = r"[-+]?[1-9]\d{0,20},\d{1,2}(?![\d,])"
_ALONE = re.compile(
    rf"\\f?boxed ?\{{ {{0,3}}{_SHORT} {{0,3}}\}}|\b[A-Za-z] {{0,3}}= {{0,3}}{_SHORT}(?=[ .$)]{{0,3}}(?:\Z|\n))"
    rf"|\A[\s*]{{0,10}}(?P<math>\$?){_SHORT}(?P=math)[\s*.]{{0,10}}\Z"
)
"""What is a decimal or a pair, with nothing beside it that tells which."""
_DECIMAL_COMMAS = re.compile(
    r"(?<![\d,])0,\d++(?! {0,3}[)\]}])|\d\.\d{3},\d|[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0400-\u04ff]"
    r"|\b(?:der|die|das|ist|und|also|le|la|les|est|et|el|los|es|por|il|een|het|jest)\b",
    re.IGNORECASE,
)
"""Evidence that a reply writes decimals with a comma."""


def with_spaces_in_lists(text: str) -> str:
    """The text with a space after a comma that may part two numbers: 2,3 as the whole reply becomes 2, 3."""
    return text if _DECIMAL_COMMAS.search(text) else _ALONE.sub(_spaced, text)


def with_spaces_in_brackets(text: str) -> str:
    """The same only where brackets or a plural before them show that several numbers are meant."""
    return _PLURAL.sub(_spaced, _ENCLOSED.sub(_spaced, text))


def _spaced(found: re.Match[str]) -> str:
    return re.sub(r"(?<=\d),(?=\d)", ", ", found[0])
