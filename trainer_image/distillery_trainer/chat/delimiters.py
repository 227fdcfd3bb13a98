"""Row data between delimiters is data: it cannot close the delimiters itself, so it cannot pose as instructions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from distillery_trainer.data.rows import Message


def neutralised_delimiters(*names: str) -> Callable[[str], str]:
    """A function that replaces `<name>` and `</name>` in a text, in any case, by `(name)` and `(/name)`."""
    delimiter = re.compile(rf"<(/?\s*(?:{'|'.join(map(re.escape, names))})\s*)>", re.IGNORECASE)
    return lambda text: delimiter.sub(r"(\1)", text)


def delimited(parts: dict[str, str]) -> str:
    """Each text between the delimiters of its name, `<name>` and `</name>`, which occur nowhere inside the texts."""
    neutralised = neutralised_delimiters(*parts)
    return "\n".join(f"<{name}>\n{neutralised(text)}\n</{name}>" for name, text in parts.items())


def as_text(messages: Sequence[Message]) -> tuple[str, str]:
    """The instructions of a chat, and its conversation: each turn preceded by its role."""
    system = [turn["content"] for turn in messages if turn["role"] == "system"]
    turns = [f"{turn['role']}: {turn['content']}" for turn in messages if turn["role"] != "system"]
    return "\n\n".join(system), "\n\n".join(turns)
