"""The Hermes form of tools: their descriptions between marks in the system message, calls and results between marks in
the texts. Many published data sets have it, and many chat templates write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from distillery_trainer.data.formats.literals import literal

_TOOLS = ("<tools>", "</tools>")
CALL = ("<tool_call>", "</tool_call>")
RESULT = ("<tool_response>", "</tool_response>")
_MARKS = (*_TOOLS, *CALL)
_HEADING = re.compile(r"#+\s*tools\s*", re.IGNORECASE)


def blocks(text: str, marks: tuple[str, str]) -> list[str]:
    """What stands between marks, in order. A mark that nothing closes opens the rest of the text."""
    begin, end = marks
    return [part.partition(end)[0].strip() for part in text.split(begin)[1:]]


def outside(text: str, marks: tuple[str, str]) -> str:
    """What stands outside of the marks."""
    begin, end = marks
    first, *parts = text.split(begin)
    return "".join([first, *(part.partition(end)[2] for part in parts)]).strip()


def json_values(text: str) -> Iterator[Any]:
    """The values of a text that is one JSON value, or one on each line. Raises ValueError."""
    try:
        yield literal(text)
    except ValueError:
        yield from (literal(line) for line in text.splitlines() if line.strip())


def tools_in(system: str) -> list[Any] | None:
    """The tools that a system message describes; None where it describes none."""
    for block in blocks(system, _TOOLS) if _TOOLS[1] in system else ():
        try:
            values = list(json_values(block))
        except ValueError:
            continue
        tools = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        if tools and all(isinstance(tool, dict) for tool in tools):
            return tools
    return None


def without_tools(system: str) -> str:
    """A system message without what it says about tools: from the first line with a mark to the last one. The chat
    template says it in its own words."""
    lines = system.splitlines()
    marked = [number for number, line in enumerate(lines) if any(mark in line for mark in _MARKS)]
    if not marked:
        return system
    before = lines[: marked[0]]
    headings = [number for number, line in enumerate(before) if _HEADING.fullmatch(line)]
    return "\n".join([*before[: headings[-1] if headings else None], *lines[marked[-1] + 1 :]]).strip()
