"""What every format is turned into, and the rules that hold for all of them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.records import Message
from distillery_trainer.runtime.files import ROW_LIMIT

ROLES = ("system", "user", "assistant")


class InvalidRow(Exception):
    """The first rule that a row breaks, as a sentence for people."""


class SkippedRecord(Exception):
    """A record that is in order and yet no row, such as a failed call in a log."""

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message
        """One word for programs, and a sentence for people."""


@dataclass(slots=True)
class Conversation:
    """A row, before it is known to which split it belongs."""

    messages: list[Message]
    """As in Example, and after them an answer, where the row holds one."""
    gold: str | list[str] | None = None
    id: str | None = None


Reader = Callable[[dict[str, Any]], Conversation]
"""Reads one format. Raises InvalidRow, or SkippedRecord."""


def conversation(messages: list[Message], gold: Any = None, own_id: Any = None) -> Conversation:
    """A checked conversation. Raises InvalidRow."""
    characters = 0
    for place, message in enumerate(messages, start=1):
        if flaw := text_flaw(message["content"]):
            raise InvalidRow(f"message {place}: the content {flaw}")
        characters += len(message["content"])
    check_order([message["role"] for message in messages])
    if characters > ROW_LIMIT:
        raise InvalidRow(f"the row is longer than {ROW_LIMIT:,} characters; split or shorten it")
    return Conversation(messages, checked_gold(gold), checked_id(own_id))


def from_texts(system: Any, user: str, reply: Any, gold: Any = None, own_id: Any = None) -> Conversation:
    """A conversation of one question; system, reply, gold and id may be None or empty. Raises InvalidRow."""
    messages: list[Message] = [{"role": "user", "content": user}]
    if not is_empty(system):
        messages.insert(0, {"role": "system", "content": system})
    if not is_empty(reply):
        messages.append({"role": "assistant", "content": reply})
    return conversation(messages, None if is_empty(gold) else gold, None if is_empty(own_id) else own_id)


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def need_text(text: Any, name: str) -> str:
    """The text, if it is one that a model can be asked. Raises InvalidRow, with `name` as what is wrong."""
    if flaw := text_flaw(text):
        raise InvalidRow(f"{name} {flaw}")
    return text  # type: ignore[no-any-return]


def text_flaw(text: Any) -> str | None:
    """Why this is no text that a model can be asked, as the end of a sentence."""
    if not isinstance(text, str):
        return "is not a string"
    if not text or text.isspace():
        return "is an empty string"
    return "has a NUL character; remove it" if "\0" in text else None


def check_order(roles: list[str]) -> None:
    """Raise InvalidRow unless an optional system message is followed by user and assistant in turn."""
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if "user" not in turns:
        raise InvalidRow("the row has no user message")
    if turns != (["user", "assistant"] * len(turns))[: len(turns)]:
        order = ", ".join(roles)
        raise InvalidRow(f"wrong order of roles ({order}); an optional system first, then user and assistant in turn")


def checked_id(own: Any) -> str | None:
    """The row's own name, a string or a number."""
    if own is None or (isinstance(own, int) and not isinstance(own, bool)):
        return None if own is None else str(own)
    return need_text(own, "the id")


def checked_gold(gold: Any) -> str | list[str] | None:
    """The known answer, or several."""
    if gold is None:
        return None
    if gold == []:
        raise InvalidRow("gold is an empty list; leave it out")
    for answer in gold if isinstance(gold, list) else [gold]:
        need_text(answer, "gold")
    return gold  # type: ignore[no-any-return]


def plain_text(content: Any) -> Any:
    """The text of a content that may be a list of parts: `{"type": "text", "text": …}` or `{"text": …}`.

    What is no list stays as it is. Raises InvalidRow for a part that is not text.
    """
    if not isinstance(content, list):
        return content
    return "".join(_text_of_part(part) for part in content)


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") in TEXT_PARTS:
        return str(part["text"])
    kind = part.get("type") or next(iter(part), "nothing") if isinstance(part, dict) else "no object"
    raise InvalidRow(f"a part of the content is not text, but {in_words(kind)}; only text is learned")


TEXT_PARTS = ("text", "input_text", "output_text")


def in_words(value: Any) -> str:
    """A value of the row in a sentence: a text as it is, anything else as Python writes it; a long one is shortened."""
    if not isinstance(value, str):
        return quoted(value)
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"


def quoted(value: Any) -> str:
    """A value of the row in a sentence, as Python writes it; of a long or deep one the beginning."""
    return _SHORT.repr(value)


_LONGEST = 300
# A line of JSON may be nested deeper than Python's own repr goes, and as long as a row may be.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = _LONGEST


def listed(names: Iterable[str], most: int = 12) -> str:
    """The names in a sentence, the first few of them."""
    known = list(names)
    return ", ".join(known[:most]) + (", …" if len(known) > most else "")
