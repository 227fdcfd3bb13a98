"""The content of a code fence, for answers that are code."""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})(?P<language>[^`\n]*)")


def only_fenced(text: str) -> str | None:
    """The content of the one code fence in a text, without the lines that open and close it; None if there is no fence,
    more than one, or one that is not closed. Fences are those of CommonMark (0.31, section 4.5)."""
    contents: list[str] = []
    inside: list[str] = []
    marks = ""
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line.rstrip())
        if not marks and fence:
            marks, inside = fence["marks"], []
        elif marks and fence and _closes(fence, marks):
            contents.append("\n".join(inside))
            marks = ""
        elif marks:
            inside.append(line)
    return contents[0] if len(contents) == 1 and not marks else None


def _closes(fence: re.Match[str], marks: str) -> bool:
    return fence["marks"].startswith(marks) and not fence["language"].strip()
