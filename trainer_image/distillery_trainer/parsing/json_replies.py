"""The one lenient parser of structured replies: it ignores reasoning and text around the JSON, and repairs small errors
in the JSON itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.parsing.json_values import REPEATED, Repairs, parsed, with_whole_characters
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_NOTHING_MORE = re.compile(r"[`.\s]*(?:\n|```|\Z)")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|["{}\[\]]', re.DOTALL)
_MAX_OPENING_BRACKETS = 50
"""Opening brackets of a reply that are tried as the start of a value."""
_MAX_SCANNED = 500_000
"""Characters that are searched for closing brackets, over all opening ones."""
_MAX_DEPTH = 100
"""Depth of brackets in brackets beyond which a value is no reply."""


def without_code_fence(text: str) -> str:
    """The content of the first code fence; the whole text if there is none."""
    return (match[1] if (match := _FENCE.search(text)) else text).strip()


def find_json(text: str, wanted: Callable[[Any], bool], parse: Callable[[str], Any | None] = parsed) -> Sequence[Any]:
    """The distinct JSON objects or lists in the text for which `wanted` is true, ignoring the text around them.

    Valid JSON takes precedence over JSON that can be repaired (missing or wrong quotes, trailing commas); of the
    latter, there is one at most. A value that is never closed was cut off and is ignored. `parse` reads valid JSON.
    """
    text = with_whole_characters(text)
    pieces = list(_balanced_pieces(text))
    if valid := _distinct(filter(wanted, map(parse, pieces))):
        return valid
    repairs = Repairs()
    candidates = map(repairs.repaired, [*pieces, *_outermost_piece(text)])
    return _distinct(islice(filter(wanted, candidates), 1))


def first_json_object(text: str) -> dict[str, object] | None:
    """The first valid JSON object in the text; None if there is none."""
    return next((value for piece in _balanced_pieces(text) if isinstance(value := parsed(piece), dict)), None)


def _distinct(values: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct


@dataclass(frozen=True, slots=True)
class JsonField:
    """The value of a key of a structured reply; None is a value, too."""

    value: Any


def read_json_field(text: str, key: str) -> JsonField | Unreadable | None:
    """The value of `key` in the JSON object of a reply; None if the reply does not look like JSON."""
    found = _distinct(_only_object(value)[key] for value in find_json(text, lambda value: key in _only_object(value)))
    if len(found) > 1 or REPEATED in found:
        return Unreadable(RejectionReason.BAD_JSON, f'The reply has the key "{key}" more than once, with other values.')
    if found:
        return JsonField(found[0])
    if without_code_fence(text).startswith("{") and first_json_object(text) is not None:
        return Unreadable(RejectionReason.BAD_JSON, f'The reply is JSON without the key "{key}".')
    return Unreadable(RejectionReason.BAD_JSON, "The reply is not valid JSON.") if looks_like_json(text, key) else None


def read_reasoning_field(text: str) -> str | None:
    """The reasoning that a structured reply states under "reason"; None if there is none."""
    field = read_json_field(without_reasoning(text), "reason")
    return field.value.strip() or None if isinstance(field, JsonField) and isinstance(field.value, str) else None


def looks_like_json(text: str, key: str) -> bool:
    """Whether a reply is meant as JSON, valid or not."""
    return without_code_fence(text).startswith(("{", "[")) or f'"{key}"' in text


def _only_object(value: Any) -> dict[str, Any]:
    """An object, or the only one in a list; an empty one for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else {}


def _balanced_pieces(text: str) -> Iterator[str]:
    """The pieces of text from an opening bracket to its closing one. A valid piece is not searched for inner ones."""
    position, scanned = 0, 0
    for _ in range(_MAX_OPENING_BRACKETS):
        opening = _OPENING.search(text, position)
        if not opening or scanned > _MAX_SCANNED:
            return
        end = _end_of_value(text, opening.start())
        scanned += (end or len(text)) - opening.start()
        if end is None and opening[0] == "{":  # the inside of an object that was cut off is not the reply
            return
        if end is None:
            position = opening.end()
            continue
        piece = text[opening.start() : end]
        yield piece
        position = opening.end() if parsed(piece) is None else end


def _end_of_value(text: str, start: int) -> int | None:
    """The position after the bracket that closes the one at `start`, ignoring brackets in strings; None without one, or
    if brackets are nested too deeply."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] == '"':  # an unterminated string
            return None
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
        if depth > _MAX_DEPTH:
            return None
    return None


def _outermost_piece(text: str) -> list[str]:
    """The text from the first bracket to the last one; nothing if the reply was cut off before that: if a sentence goes
    on after it, or brackets are left open."""
    opening, end = _OPENING.search(text), max(text.rfind("}"), text.rfind("]")) + 1
    piece = text[opening.start() : end] if opening else ""
    is_closed = piece.count("{") <= piece.count("}") and piece.count("[") <= piece.count("]")
    return [piece] if piece and is_closed and _NOTHING_MORE.match(text, end) else []
