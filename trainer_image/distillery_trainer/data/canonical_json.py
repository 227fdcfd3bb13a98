"""The one text of a JSON value, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from distillery_trainer.data.written_numbers import WrittenNumber


def canonical_json(value: Any) -> str:
    """The value as JSON: keys sorted, no white space, numbers as written, no escapes for characters beyond ASCII.

    Raises TypeError or ValueError for what is no JSON.
    """
    if isinstance(value, dict):
        members = (f"{_text(key)}:{canonical_json(value[key])}" for key in sorted(value))
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(canonical_json, value))}]"
    if isinstance(value, WrittenNumber):
        return value.text
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


_text: Callable[[str], str] = json.JSONEncoder(ensure_ascii=False).encode
