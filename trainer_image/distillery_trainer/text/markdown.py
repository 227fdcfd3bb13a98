"""Markdown of the cards: sections, tables, code, and the front matter that hubs read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

_FENCE = "---"


def section(title: str, text: str) -> str:
    """A section of the second level."""
    return f"## {title}\n\n{text}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what would end a cell or a line is taken out of the cells."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def fenced(text: str, language: str = "text") -> str:
    """A code block with a fence that is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def front_matter(metadata: Mapping[str, Any]) -> str:
    """Metadata as the first lines of a card."""
    text = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=120)
    return f"{_FENCE}\n{text}{_FENCE}"


def read_front_matter(text: str) -> dict[str, Any]:
    """The metadata of a card; empty where it has none that can be read."""
    parts = re.split(rf"^{_FENCE}[ \t]*\r?$\n?", text, maxsplit=2, flags=re.MULTILINE)
    if len(parts) != 3 or parts[0].strip("\ufeff\r\n "):
        return {}
    try:
        metadata = yaml.safe_load(parts[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}
