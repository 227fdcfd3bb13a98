"""The reasoning that a model writes before its answer, between marks such as <think> and </think>.

`reasoning_marks.py` has the marks of all models.
"""

from __future__ import annotations

import re
from itertools import islice

from distillery_trainer.parsing import reasoning_marks as marks

_CODE_MARKS = re.compile(r"`+")
_MAX_QUOTED_MARKS = 50
"""Marks in quotes or code that are skipped in search of one that ends reasoning which the prompt opened."""


def split_reasoning(text: str) -> tuple[str | None, str]:
    """The reasoning at the start of a reply, and the rest; None without reasoning.

    Reasoning without a closing mark extends to the end of the reply. If the chat template opens it in the prompt, the
    reply has the closing mark only. Marks further on in the reply, or in quotes or code, are part of the answer.
    """
    parts, rest = [], text
    while (end := _end_of_reasoning(rest)) is not None:
        parts.append(_without_marks(rest[:end]))
        rest = rest[end:].lstrip()
    if not parts:
        return None, text
    start = marks.START_OF_ANSWER.match(rest)
    return "\n\n".join(filter(None, parts)), marks.END_OF_ANSWER.sub("", rest[start.end() if start else 0 :])


def without_reasoning(text: str) -> str:
    """The reply without the reasoning at its start."""
    return split_reasoning(text)[1]


def _end_of_reasoning(text: str) -> int | None:
    """Where the reasoning at the start of a text ends, its closing mark included; None without reasoning."""
    if marks.CHANNELS.match(text):
        return _end_of_channels(text)
    if opening := marks.OPENING.match(text):
        return _end_of_tags(text, opening.end())
    return _end_of_unopened(text)


def _end_of_channels(text: str) -> int:
    """What follows the mark of the final channel is the answer; where there is none, the reply was cut off."""
    ends = [match.end() for match in marks.FINAL_CHANNEL.finditer(text)]
    return ends[-1] if ends else len(text)


def _end_of_tags(text: str, start: int) -> int:
    """After the tag that closes the one before `start`; the end of the text where it is not closed, or was cut off."""
    if text[start - 2] == "/":  # <think/>
        return start
    name, depth = marks.name_of(text[:start]), 1
    for tag in marks.TAG.finditer(text, start):
        if marks.name_of(tag[0]) == name and not _is_quoted(text, tag):
            depth += -1 if marks.is_closing(tag) else 1
        if depth == 0:
            return tag.end()
    return len(text)


def _end_of_unopened(text: str) -> int | None:
    """After the first mark, if it is a closing one; those in quotes and code do not count."""
    for tag in islice(marks.TAG.finditer(text), _MAX_QUOTED_MARKS):
        if not marks.is_closing(tag):
            return None
        before = text[: tag.start()]
        if not _is_quoted(text, tag) and not _opens_quotation(before) and not _is_in_code(before):
            return tag.end()
    return None


def _is_quoted(text: str, tag: re.Match[str]) -> bool:
    before, after = text[tag.start() - 1 : tag.start()], text[tag.end() : tag.end() + 1]
    return bool(marks.QUOTE.fullmatch(before) and marks.QUOTE.fullmatch(after))


def _opens_quotation(before: str) -> bool:
    """Whether a text ends with a quotation mark that opens a quotation. Reasoning may end with one that closes it."""
    line = before.rpartition("\n")[2]
    return line.endswith(("\u201c", "\u2018")) or (line.endswith('"') and line.count('"') % 2 == 1)


def _is_in_code(before: str) -> bool:
    """Whether a code span or block is open at the end of a text."""
    return before.count("```") % 2 == 1 or len(_CODE_MARKS.findall(before.rpartition("\n")[2])) % 2 == 1


def _without_marks(reasoning: str) -> str:
    """Reasoning without the marks around it, and between its channels."""
    if marks.CHANNELS.match(reasoning):
        return marks.CHANNEL_MARK.sub("\n", reasoning).strip()
    return marks.CLOSING_AT_END.sub("", marks.OPENING.sub("", reasoning, count=1)).strip()
