"""The options of a multiple-choice question in its text: one per line, marked by letters in order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

_LINE = re.compile(
    r"^[ \t>*-]*(?:[(\[\uff08](?P<enclosed>[^\W\d_])[)\]\uff09][.:]?|(?P<marked>[^\W\d_])[.):\uff0e\uff09\uff1a\u3001])"
    r"(?P<gap>[ \t*]*)(?P<text>[^\n]*)$",
    re.MULTILINE,
)
_FIRST = "Aa\u0410\u0430\u0391\u03b1"
"""The first letters of the Latin, Cyrillic and Greek alphabets."""
_MIN_OPTIONS = 2


@lru_cache(maxsize=256)
def find_options(text: str) -> Mapping[str, str]:
    """The text of each option by its letter, as written; empty if there are none.

    Options are two or more lines such as `A. text`, `A) text`, `A: text` or `(A) text`, starting with the first letter
    of an alphabet. If a text has several such lists, the last one counts.
    """
    found: dict[str, str] = {}
    for run in _lists(text):
        found = run if len(run) >= _MIN_OPTIONS else found
    return found


def without_repeated_options(reply: str, options: Mapping[str, str]) -> str:
    """A reply without the list of options if it repeats that: repeating the list is no choice."""
    repeated = [match for match in _LINE.finditer(reply) if _is_option(match, options)]
    if len({_letter(match) for match in repeated}) < _MIN_OPTIONS:
        return reply
    for match in reversed(repeated):
        reply = reply[: match.start()] + reply[match.end() :]
    return reply


def option_letter(reply: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that the whole reply consists of, with or without its letter; None for other replies."""
    match = _LINE.fullmatch(reply.strip())
    if match and _is_option(match, options):
        return next(letter for letter in options if letter.casefold() == _letter(match).casefold())
    same = [letter for letter, text in options.items() if text and _folded(text) == _folded(reply)]
    return same[0] if len(same) == 1 else None


def _lists(text: str) -> Iterator[dict[str, str]]:
    """The lists in a text, each starting with a first letter."""
    run: dict[str, str] = {}
    for match in _LINE.finditer(text):
        letter = _letter(match)
        if letter in _FIRST:
            yield run
            run = {letter: match["text"].strip()}
        elif run and ord(letter) == ord(max(run)) + 1:
            run[letter] = match["text"].strip()
    yield run


def _is_option(match: re.Match[str], options: Mapping[str, str]) -> bool:
    text = next((text for letter, text in options.items() if letter.casefold() == _letter(match).casefold()), None)
    return text is not None and _folded(text) == _folded(match["text"])


def _letter(match: re.Match[str]) -> str:
    return str(match["enclosed"] or match["marked"])


def _folded(text: str) -> str:
    return " ".join(text.strip(" \t\r\n\"'`*_.").split()).casefold()
