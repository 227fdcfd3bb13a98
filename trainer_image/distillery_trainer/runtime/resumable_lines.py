"""Files of what was paid for or took long, one line each: added to as it comes, and read again by the next attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file, none where there is no file yet. A line that a kill left half written is cut off, so that
    the next one is not glued to it."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return [orjson.loads(line) for line in whole.splitlines()]
