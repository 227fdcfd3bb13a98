"""What a model thinks before it answers, told apart from the answer by the marks around it."""

from __future__ import annotations

import re

_OPENED = re.compile(r"\A\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
_QUOTES = "`\"'\u201c\u201d\u2018\u2019"
_UNOPENED = re.compile(rf"\A((?:(?!<think>).)*?)(?<![{_QUOTES}])</think>(?![{_QUOTES}])\s*", re.DOTALL)


def split_reasoning(text: str) -> tuple[str | None, str]:
    """The `<think>…</think>` at the start of a reply, and the rest; None for a reply without.

    A thought without an end takes everything. One that was begun in the prompt, as some chat templates do, has an end
    only. Marks further on, or between quotes, are what the answer speaks of.
    """
    if "think>" not in text:
        return None, text
    match = _OPENED.match(text) or _UNOPENED.match(text)
    return (match[1].strip(), text[match.end() :]) if match else (None, text)


def without_reasoning(text: str) -> str:
    """The reply without the thought at its start."""
    return split_reasoning(text)[1]
