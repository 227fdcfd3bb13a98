"""A question for the example request of a served student: one that its evaluation asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distillery_api.paths import Artefact
from distillery_api.runtime.picture_parts import as_image_url, in_parts
from distillery_operator.local.folder_access import OutsideFolder, path_inside
from distillery_operator.local.run_result import RunResult

ANY_TEXT = "…"
_LINE_LIMIT = 64 * 1024
"""Bytes of a row that is read."""
_PICTURE = "data:image/png;base64,…"
_LONGEST = 400
"""Characters of a question that is shown; a longer one is cut off."""


def example_message(folder: Path, result: RunResult) -> Any:
    """The content of the last user message of the first held-out row, with `…` for the data of its pictures; `…` where
    there is none."""
    try:
        path = path_inside(folder, result.files[Artefact.TEST])
        with path.open("rb") as file:
            row: Any = json.loads(file.readline(_LINE_LIMIT))
        message = [message for message in row["studentPrompt"] if message["role"] == "user"][-1]
        text = message["content"]
    except (OSError, OutsideFolder, ValueError, LookupError, TypeError):
        return ANY_TEXT
    if not isinstance(text, str):
        return ANY_TEXT
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return in_parts({**message, "content": shown}, lambda _: as_image_url(_PICTURE))["content"]
