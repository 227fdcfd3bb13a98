"""Whether a summary says what its source says, as far as that shows in numbers and names."""

from __future__ import annotations

import re

from distillery_trainer.parsing import numbers
from distillery_trainer.text import entities
from distillery_trainer.text.words import words

_LIST_MARK = re.compile(r"^\s*\d{1,3}[.)]\s+", re.MULTILINE)
_SPELLED = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905 - on one line
    )
}


def numbers_not_in_source(summary: str, source: str) -> list[str]:
    """The numbers of a summary, as it writes them, that its source does not have.

    Compared by value, without signs and with or without the word million; the marks of a numbered list are no numbers,
    and a source may spell those up to twelve in English.
    """
    known = _values(source) | {_SPELLED[word] for word in words(source) if word in _SPELLED}
    text = numbers.plain(_LIST_MARK.sub("", summary))
    strange = [found for found in numbers.anywhere(text) if not _forms(found) & known]
    return [text[found.start : found.end].strip() for found in strange]


def numbers_found(summary: str, source: str) -> float | None:
    """Share of a summary's numbers that its source has, from 0 to 1; None for a summary without numbers."""
    total = _count_of_numbers(summary)
    return 1 - len(numbers_not_in_source(summary, source)) / total if total else None


def names_not_in_source(summary: str, source: str) -> list[str]:
    """The named entities of a summary that its source does not have; none where `entities.available()` is false."""
    source_words = words(source)
    return [name for name in entities.names(summary) or [] if not entities.is_named(name, source_words)]


def share_found(summary: str, source: str) -> float | None:
    """Share of a summary's named entities and numbers that its source has, from 0 to 1.

    None for a summary with neither, for one that is not English, and where `entities.available()` is false.
    """
    named = entities.names(summary)
    if named is None:
        return None
    total = len(named) + _count_of_numbers(summary)
    strange = len(names_not_in_source(summary, source)) + len(numbers_not_in_source(summary, source))
    return 1 - strange / total if total else None


def _count_of_numbers(summary: str) -> int:
    return len(numbers.anywhere(numbers.plain(_LIST_MARK.sub("", summary))))


def _values(text: str) -> set[str]:
    return {form for found in numbers.anywhere(numbers.plain(text)) for form in _forms(found)}


def _forms(found: numbers.Found) -> set[str]:
    return {found.literal.lstrip("-").rstrip("%"), found.figure}
