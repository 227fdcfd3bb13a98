"""The reasoning that a model writes before its answer, between <think> and </think>."""

from __future__ import annotations

import re

_OPENED = re.compile(r"\A\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
_QUOTES = "`\"'\u201c\u201d\u2018\u2019"
_UNOPENED = re.compile(rf"\A((?:(?!<think>).)*?)(?<![{_QUOTES}])</think>(?![{_QUOTES}])\s*", re.DOTALL)


def split_reasoning(text: str) -> tuple[str | None, str]:
    """The `<think>…</think>` at the start of a reply, and the rest; None without reasoning.

    Reasoning without a closing mark extends to the end of the reply. If the chat template opens it in the prompt, the
    reply has the closing mark only. Marks further on in the reply, or in quotes, are part of the answer.
    """
    if "think>" not in text:
        return None, text
    match = _OPENED.match(text) or _UNOPENED.match(text)
    return (match[1].strip(), text[match.end() :]) if match else (None, text)


def without_reasoning(text: str) -> str:
    """The reply without the reasoning at its start."""
    return split_reasoning(text)[1]
