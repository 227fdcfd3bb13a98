"""The options of a multiple-choice question in its text: one per line, marked by letters in order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from distillery_api.comparable import label_key, plain

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
    repeated = {match.span() for match in _LINE.finditer(reply) if _option_of(match, options)}
    if len({_letter(match) for match in _LINE.finditer(reply) if match.span() in repeated}) < _MIN_OPTIONS:
        return reply
    return _LINE.sub(lambda match: "" if match.span() in repeated else match[0], reply)


def option_letter(reply: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that the whole reply consists of, with or without its letter; None for other replies."""
    match = _LINE.fullmatch(reply.strip())
    if match and (letter := _option_of(match, options)):
        return letter
    same = [letter for letter, text in options.items() if text and label_key(text) == label_key(reply)]
    return same[0] if len(same) == 1 else None


def option_phrases(labels: Sequence[str], options: Mapping[str, str]) -> dict[str, str]:
    """The label by the text of its option, for options whose letters are labels and whose texts differ from others."""
    by_key = {label_key(label): label for label in labels}
    keys = [label_key(text) for text in options.values()]
    return {
        text: by_key[label_key(letter)]
        for letter, text in options.items()
        if label_key(letter) in by_key and keys.count(key := label_key(text)) == 1 and key and key not in by_key
    }


def _lists(text: str) -> Iterator[dict[str, str]]:
    """The lists in a text, each starting with a first letter."""
    run: dict[str, str] = {}
    for match in _LINE.finditer(text):
        letter = _letter(match)
        if letter in _FIRST:
            yield run
            run = {letter: match["text"].strip()}
        elif run and ord(letter) == ord(next(reversed(run))) + 1:
            run[letter] = match["text"].strip()
    yield run


def _option_of(match: re.Match[str], options: Mapping[str, str]) -> str | None:
    """The letter of the option that a line repeats."""
    line = label_key(_letter(match)), label_key(match["text"])
    return next((letter for letter in options if (label_key(letter), label_key(options[letter])) == line), None)


def _letter(match: re.Match[str]) -> str:
    return plain(str(match["enclosed"] or match["marked"]))
