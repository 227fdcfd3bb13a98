"""The texts of a message in a completion: content, reasoning and refusal, in the forms in which servers send them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_content")
"""Types of the parts of a content that hold reasoning, and the names of their texts."""
_PART_TEXTS = ("text", "content", "refusal")
_MOST_NESTED = 4


@dataclass(frozen=True, slots=True)
class ReplyTexts:
    """What a message says. A stream's texts are joined, so they may still have halves of characters here."""

    content: str = ""
    reasoning: str = ""
    refusal: str = ""

    @classmethod
    def read(cls, message: Any) -> Self:
        """The texts of a message, or of its part in a chunk of a stream. Raises ValueError where it is no message."""
        if not isinstance(message, dict):
            raise ValueError("not a message")
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise ValueError("the content is not text")
        named = [_text(message.get(name)) for name in ("reasoning_content", "reasoning")]
        in_content = "" if isinstance(content, str) else _parts(content, reasoning=True)
        return cls(
            content=content if isinstance(content, str) else _parts(content, reasoning=False),
            reasoning=next(filter(None, [*named, in_content]), ""),
            refusal=_text(message.get("refusal")),
        )


def joined(parts: Sequence[ReplyTexts]) -> dict[str, str]:
    """The message that the parts of a stream make up, as it would have been sent as a whole."""
    return {
        "content": "".join(part.content for part in parts),
        "reasoning": "".join(part.reasoning for part in parts),
        "refusal": "".join(part.refusal for part in parts),
    }


def _parts(content: Any, *, reasoning: bool) -> str:
    """The text of those parts of a content that are reasoning, or of those that are not."""
    parts = content if isinstance(content, list) else []
    return "".join(_text(part) for part in parts if _is_reasoning(part) is reasoning)


def _is_reasoning(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and kind in _REASONING_PARTS


def _text(value: Any, nested: int = 0) -> str:
    """The text of a value: of a text itself, or of all parts in it; "" for anything else."""
    if isinstance(value, str):
        return value
    if nested >= _MOST_NESTED:
        return ""
    if isinstance(value, list):
        return "".join(_text(part, nested + 1) for part in value)
    if not isinstance(value, dict):
        return ""
    texts = (_text(value.get(name), nested + 1) for name in (*_REASONING_PARTS, *_PART_TEXTS))
    return next(filter(None, texts), "")
