"""A question for the example request of a served student: one that its evaluation asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distillery_api.paths import Artefact
from distillery_operator.local.folder_access import OutsideFolder, path_inside
from distillery_operator.local.run_result import RunResult

ANY_TEXT = "…"
_LINE_LIMIT = 64 * 1024
"""Bytes of a row that is read."""
_LONGEST = 400
"""Characters of a question that is shown; a longer one is cut off."""


def example_message(folder: Path, result: RunResult) -> str:
    """The last user message of the first held-out row; `…` where there is none."""
    try:
        path = path_inside(folder, result.files[Artefact.TEST])
        with path.open("rb") as file:
            row: Any = json.loads(file.readline(_LINE_LIMIT))
        texts = [message["content"] for message in row["studentPrompt"] if message["role"] == "user"]
    except (OSError, OutsideFolder, ValueError, LookupError, TypeError):
        return ANY_TEXT
    if not texts or not isinstance(texts[-1], str):
        return ANY_TEXT
    return texts[-1] if len(texts[-1]) <= _LONGEST else f"{texts[-1][:_LONGEST]}…"
