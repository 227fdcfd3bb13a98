"""A row between marks is data. It cannot close the marks itself, and so cannot pose as instructions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from distillery_trainer.data.records import Message


def neutralised_delimiters(*names: str) -> Callable[[str], str]:
    """What takes the effect out of `<name>` and `</name>` in a text, whatever their case: they become `(name)`."""
    mark = re.compile(rf"<(/?\s*(?:{'|'.join(map(re.escape, names))})\s*)>", re.IGNORECASE)
    return lambda text: mark.sub(r"(\1)", text)


def as_text(messages: Sequence[Message]) -> tuple[str, str]:
    """The instructions of a chat, and its conversation, each turn with its role before it."""
    system = [turn["content"] for turn in messages if turn["role"] == "system"]
    turns = [f"{turn['role']}: {turn['content']}" for turn in messages if turn["role"] != "system"]
    return "\n\n".join(system), "\n\n".join(turns)
