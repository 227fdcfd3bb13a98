"""What all formats are converted to, and the rules that apply to all of them."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from distillery_api.formatting import cleaned
from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.canonical_json import canonical_json
from distillery_trainer.data.pictures import count_problem
from distillery_trainer.data.rows import Message
from distillery_trainer.data.tool_calls import Tool
from distillery_trainer.data.written_numbers import scalar_text
from distillery_trainer.runtime.files import ROW_LIMIT

ROLES = ("system", "user", "assistant")


class InvalidRow(Exception):
    """The first rule that a row breaks; the message says how."""


class SkippedRecord(Exception):
    """A valid record that is not a row, such as a failed call in a log."""

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message
        """A machine-readable reason and a human-readable message."""


@dataclass(slots=True)
class Conversation:
    """A row before its split is known."""

    messages: list[Message]
    """As in Row, followed by the existing reply to the last one, if there is one."""
    gold: str | list[str] | None = None
    id: str | None = None
    unused_keys: tuple[str, ...] = ()
    """Keys that the format does not know."""
    tools: list[Tool] | None = None
    """What may be called."""


Reader = Callable[[dict[str, Any]], Conversation]
"""Reads one format. Raises InvalidRow, or SkippedRecord."""


def conversation(messages: list[Message], gold: Any = None, row_id: Any = None) -> Conversation:
    """A checked conversation. Raises InvalidRow."""
    characters = 0
    for number, message in enumerate(messages, start=1):
        if problem := text_problem(message["content"]):
            raise InvalidRow(f"message {number}: the content {problem}")
        characters += len(message["content"])
    if problem := count_problem(messages):
        raise InvalidRow(problem)
    check_order([message["role"] for message in messages])
    if characters > ROW_LIMIT:
        raise InvalidRow(f"the row is longer than {ROW_LIMIT:,} characters; split or shorten it")
    return Conversation(messages, checked_gold(gold), checked_id(row_id))


def from_texts(system: Any, user: str, reply: Any, gold: Any = None, row_id: Any = None) -> Conversation:
    """A conversation with one user message; system, reply, gold and id may be None or empty. Raises InvalidRow."""
    messages: list[Message] = [{"role": "user", "content": user}]
    if not is_empty(system):
        messages.insert(0, {"role": "system", "content": system})
    if not is_empty(reply):
        messages.append({"role": "assistant", "content": reply})
    if isinstance(gold, list):
        gold = [answer for answer in gold if not is_empty(answer)]
    return conversation(messages, None if is_empty(gold) else gold, None if is_empty(row_id) else row_id)


def is_empty(value: Any) -> bool:
    """Whether a value is null, an empty list or blank."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def need_text(text: Any, name: str) -> str:
    """The text, if it is valid in a request. Raises InvalidRow that names it `name`."""
    if problem := text_problem(text):
        raise InvalidRow(f"{name} {problem}")
    return text  # type: ignore[no-any-return]


def text_problem(text: Any) -> str | None:
    """Why this is not a valid text in a request, as the end of a sentence."""
    if not isinstance(text, str):
        return "is not a string"
    if not text or text.isspace():
        return "is an empty string"
    return "contains a NUL character; remove it" if "\0" in text else None


def check_order(roles: list[str]) -> None:
    """Raise InvalidRow unless an optional system message is followed by user and assistant messages in turn."""
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if "user" not in turns:
        raise InvalidRow("the row has no user message")
    if turns != (["user", "assistant"] * len(turns))[: len(turns)]:
        order = ", ".join(roles)
        raise InvalidRow(
            f"wrong order of roles ({order}); write an optional system message, then user and assistant in turn"
        )


def checked_id(own: Any) -> str | None:
    """The row's own id, a string or an integer."""
    if own is None or (isinstance(own, int) and not isinstance(own, bool)):
        return None if own is None else str(own)
    return need_text(own, "the id")


def checked_gold(gold: Any) -> str | list[str] | None:
    """The known answer, or a list of several; numbers, booleans and objects as text."""
    if gold is None:
        return None
    if gold == []:
        raise InvalidRow('gold is an empty list; remove the key, or write "none" for a row without labels')
    if isinstance(gold, list):
        return [need_text(gold_text(answer), "gold") for answer in gold]
    return need_text(gold_text(gold), "gold")


def gold_text(value: Any) -> Any:
    """One known answer, numbers, booleans and objects as text; anything else as it is. Raises InvalidRow for a number
    that is too long, and for an object that is no JSON."""
    if isinstance(value, dict):
        return _json_text(value)
    text = scalar_text(value)
    if text is not value and len(text) > _LONGEST_NUMBER:
        raise InvalidRow(f"gold is a number of {len(text):,} characters; write it shorter, or as text")
    return text


def _json_text(value: dict[str, Any]) -> str:
    try:
        return canonical_json(value)
    except (TypeError, ValueError, RecursionError):
        raise InvalidRow("gold is an object with a value that is no JSON; write it as JSON text") from None


def plain_text(content: Any) -> Any:
    """The text of a content that may be a list of parts: `{"type": "text", "text": …}` or `{"text": …}`.

    Anything but a list is returned unchanged. Raises InvalidRow for a part that is not text.
    """
    if not isinstance(content, list):
        return content
    return "".join(_text_of_part(part) for part in content)


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") in TEXT_PARTS:
        return str(part["text"])
    if is_picture(part):
        raise InvalidRow("pictures are read in messages of OpenAIFineTuning alone, and not in rows with tools or logs")
    kind = part.get("type") or next(iter(part), "an empty object") if isinstance(part, dict) else "not an object"
    raise InvalidRow(f"a part of the content is not text ({shown(kind)}); only text and pictures are supported")


def is_picture(part: Any) -> bool:
    """Whether a part of a content is a picture."""
    return isinstance(part, dict) and part.get("type") in _PICTURE_PARTS


TEXT_PARTS = ("text", "input_text", "output_text")
_PICTURE_PARTS = ("image_url", "input_image")


def shown(value: Any) -> str:
    """A value of the row for an error message: text as it is, anything else as Python writes it; shortened."""
    return cleaned(value, _SHOWN_BYTES) if isinstance(value, str) else quoted(value)


def quoted(value: Any) -> str:
    """A value of the row for an error message, as Python writes it; shortened."""
    return _REPR.repr(value)


def named(key: str) -> str:
    """A key or the name of a column for an error message, in quotes; shortened."""
    return f'"{cleaned(key, _NAME_BYTES)}"'


_SHOWN_BYTES = 300
_NAME_BYTES = 80
_LONGEST_NUMBER = 100
"""Characters of a known answer that is a number."""
# JSON may be nested more deeply than Python's own repr can go, and as long as a row may be.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = _SHOWN_BYTES


def listed(names: Iterable[str], most: int = 12) -> str:
    """The names for an error message, at most the first few; shortened."""
    first = list(itertools.islice(names, most + 1))
    return ", ".join(cleaned(name, _NAME_BYTES) for name in first[:most]) + (", …" if len(first) > most else "")
