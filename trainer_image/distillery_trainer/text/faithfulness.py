"""Whether a summary is faithful to its source, as far as numbers and names show."""

from __future__ import annotations

import re

from distillery_trainer.parsing import numbers
from distillery_trainer.text import entities
from distillery_trainer.text.words import words

_LIST_MARK = re.compile(r"^[^\S\n]*\d{1,3}[.)]\s+", re.MULTILINE)
_SPELLED = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905 - on one line
    )
}


def numbers_not_in_source(summary: str, source: str) -> list[str]:
    """The numbers of a summary, as it writes them, that its source does not have.

    Numbers are compared by value, without signs and with or without a scale word such as million. The marks of a
    numbered list do not count, and the source may spell out the numbers up to twelve in English.
    """
    source_forms = _number_forms(source) | {_SPELLED[word] for word in words(source) if word in _SPELLED}
    text = numbers.normalize(_LIST_MARK.sub("", summary))
    unsupported = [found for found in numbers.find_anywhere(text) if not _forms_of(found) & source_forms]
    return [text[found.start : found.end].strip() for found in unsupported]


def names_not_in_source(summary: str, source: str) -> list[str]:
    """The named entities of a summary that its source does not have; none where `entities.available()` is false."""
    source_words = words(source)
    return [name for name in entities.named_entities(summary) or [] if not entities.is_mentioned(name, source_words)]


def supported_share(summary: str, source: str) -> float | None:
    """Share of a summary's named entities and numbers that its source has, from 0 to 1.

    None for a summary with neither, for one that is not English, and where `entities.available()` is false.
    """
    named = entities.named_entities(summary)
    if named is None:
        return None
    total = len(named) + _number_count(summary)
    unsupported = len(names_not_in_source(summary, source)) + len(numbers_not_in_source(summary, source))
    return 1 - unsupported / total if total else None


def _number_count(summary: str) -> int:
    return len(numbers.find_anywhere(numbers.normalize(_LIST_MARK.sub("", summary))))


def _number_forms(text: str) -> set[str]:
    return {form for found in numbers.find_anywhere(numbers.normalize(text)) for form in _forms_of(found)}


def _forms_of(found: numbers.FoundNumber) -> set[str]:
    return {found.literal.lstrip("-").rstrip("%"), found.magnitude}
