"""The last JSON object of a reply: a judge may quote another one, from what it judges, before its own."""

from __future__ import annotations

import json
from dataclasses import dataclass

_DECODER = json.JSONDecoder(strict=False)
_MAX_OPENING_BRACES = 300
"""Opening braces that are tried as the start of an object, from the end of the reply."""


@dataclass(frozen=True, slots=True)
class LastObject:
    """A JSON object in a reply, and what the reply writes after it."""

    text: str
    after: str


def last_json_object(text: str, key: str) -> LastObject | None:
    """The last whole JSON object that is in no other one and has `key`; None where there is none."""
    starts = [position for position, character in enumerate(text) if character == "{"][-_MAX_OPENING_BRACES:]
    last, end = None, 0
    for start in starts:
        if start >= end and (found := _object_at(text, start)) is not None:
            value, end = found
            last = LastObject(text[start:end], text[end:]) if key in value else last
    return last


def _object_at(text: str, start: int) -> tuple[dict[str, object], int] | None:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return value, end
