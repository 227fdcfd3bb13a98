"""Options of a multiple-choice question in columns of their own: lettered lines after the prompt, and gold as a letter.

Gold is a letter or the text of an option; a number counts from what the manifest says is the first one, since a 1 may
mean the first option or the second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from distillery_api.comparable import label_key
from distillery_trainer.data.formats.cells import Missing, cell_text, find_cell
from distillery_trainer.data.formats.conversation import InvalidRow, shown
from distillery_trainer.data.formats.templates import missing_column

_FIELD = "columns.options"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\].:]?")
_LETTERED = re.compile(r"[(\[]?(?P<letter>[A-Za-z])[)\].:]+\s+(?P<text>.+)")
_NUMBER = re.compile(r"(\d{1,9})(\.0+)?")


def option_texts(row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    """The options of a row, each on one line. Raises InvalidRow for fewer than two, and for a gap between them."""
    texts = [" ".join(text.split()) for text in _cells(row, columns)]
    while texts and not texts[-1]:
        texts.pop()
    if "" in texts:
        raise InvalidRow(f"the option {_LETTERS[texts.index('')]} is empty, but a later one is not; close the gap")
    if len(texts) < 2:
        raise InvalidRow(f"the row has fewer than two options ({_FIELD})")
    if len(texts) > len(_LETTERS):
        raise InvalidRow(f"the row has {len(texts)} options; at most {len(_LETTERS)} can have a letter")
    return _without_letters(texts)


def with_options(prompt: str, options: Sequence[str]) -> str:
    """The prompt, and after it one lettered line for each option."""
    lines = [f"{letter}. {text}" for letter, text in zip(_LETTERS, options, strict=False)]
    return "\n".join([prompt.rstrip(), *lines])


def option_of(gold: str, options: Sequence[str], first_option: int | None) -> str:
    """The letter of the option that gold names. Raises InvalidRow if it names none, or could be two."""
    gold = gold.strip()
    letters = _LETTERS[: len(options)]
    number = _NUMBER.fullmatch(gold)
    if number and first_option is not None:
        index = int(number[1]) - first_option
        if not 0 <= index < len(options):
            last = first_option + len(options) - 1
            raise InvalidRow(f"gold is {shown(gold)}, but the options of the row are {first_option} to {last}")
        return letters[index]
    by_text, by_letter = _by_text(gold, options), _by_letter(gold, letters)
    if by_text and by_letter and by_text != by_letter:
        raise InvalidRow(
            f'gold "{shown(gold)}" is the letter of one option and the text of another; give the number of the option,'
            " and set columns.firstOption"
        )
    if found := by_text or by_letter:
        return found
    if number:
        raise InvalidRow(
            f"gold is the number {shown(gold)}; set columns.firstOption to 0 or 1, the number of the first option"
        )
    raise InvalidRow(f'gold "{shown(gold)}" is neither a letter from A to {letters[-1]} nor the text of one option')


def _cells(row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    cells = [_cell(row, name) for name in columns]
    if len(columns) == 1 and isinstance(cells[0], list):
        return [cell_text(item, columns[0]) for item in cells[0]]
    return [cell_text(cell, name) for cell, name in zip(cells, columns, strict=True)]


def _cell(row: dict[str, Any], name: str) -> Any:
    cell = find_cell(row, name)
    if cell is Missing.CELL:
        raise missing_column(name, _FIELD, row)
    return cell


def _without_letters(texts: list[str]) -> list[str]:
    """The options without the letters that all of them have already."""
    matches = [_LETTERED.fullmatch(text) for text in texts]
    found = [match for match in matches if match is not None]
    if [match["letter"].upper() for match in found] != list(_LETTERS[: len(texts)]):
        return texts
    return [match["text"] for match in found]


def _by_letter(gold: str, letters: str) -> str | None:
    match = _LETTER.fullmatch(gold)
    return match[1].upper() if match and match[1].upper() in letters else None


def _by_text(gold: str, options: Sequence[str]) -> str | None:
    """The letter of the one option with this text, alone or after that letter; exactly, or else as labels are
    compared."""
    lettered = _LETTERED.fullmatch(gold)
    for wanted, only in ((gold, None), (lettered["text"], lettered["letter"].upper()) if lettered else ("", None)):
        same = [letter for letter, text in zip(_LETTERS, options, strict=False) if text == wanted]
        alike = [
            letter
            for letter, text in zip(_LETTERS, options, strict=False)
            if label_key(text) and label_key(text) == label_key(wanted)
        ]
        found = same or alike
        if len(found) > 1 and only is None:
            raise InvalidRow(f'gold "{shown(gold)}" is the text of several options; give the letter')
        if found and (only is None or only in found):
            return only or found[0]
    return None
