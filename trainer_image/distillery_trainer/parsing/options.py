"""The options of a multiple-choice question, as they stand in its text: one a line, marked by letters in order."""

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
_FEWEST = 2


@lru_cache(maxsize=256)
def options(text: str) -> Mapping[str, str]:
    """Text of each option by its letter, as written; empty where there are none.

    `A. text`, `A) text`, `A: text` and `(A) text` are options, two or more of them from the first letter of an alphabet
    on. Where a text has several such lists, the last one counts.
    """
    found: dict[str, str] = {}
    for run in _runs(text):
        found = run if len(run) >= _FEWEST else found
    return found


def without_echo(reply: str, choices: Mapping[str, str]) -> str:
    """A reply without the list of options, where it repeats that: it is no choice."""
    echoed = [match for match in _LINE.finditer(reply) if _is_option(match, choices)]
    if len({_letter(match) for match in echoed}) < _FEWEST:
        return reply
    for match in reversed(echoed):
        reply = reply[: match.start()] + reply[match.end() :]
    return reply


def chosen(reply: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the option that the whole reply is, with its text or as its text only; None for other replies."""
    match = _LINE.fullmatch(reply.strip())
    if match and _is_option(match, choices):
        return next(letter for letter in choices if letter.casefold() == _letter(match).casefold())
    same = [letter for letter, text in choices.items() if text and _folded(text) == _folded(reply)]
    return same[0] if len(same) == 1 else None


def _runs(text: str) -> Iterator[dict[str, str]]:
    """The lists of a text, each from a first letter on."""
    run: dict[str, str] = {}
    for match in _LINE.finditer(text):
        letter = _letter(match)
        if letter in _FIRST:
            yield run
            run = {letter: match["text"].strip()}
        elif run and ord(letter) == ord(max(run)) + 1:
            run[letter] = match["text"].strip()
    yield run


def _is_option(match: re.Match[str], choices: Mapping[str, str]) -> bool:
    text = next((text for letter, text in choices.items() if letter.casefold() == _letter(match).casefold()), None)
    return text is not None and _folded(text) == _folded(match["text"])


def _letter(match: re.Match[str]) -> str:
    return str(match["enclosed"] or match["marked"])


def _folded(text: str) -> str:
    return " ".join(text.strip(" \t\r\n\"'`*_.").split()).casefold()
