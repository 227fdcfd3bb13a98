"""The pictures of a message between its texts, for whatever takes chats: APIs, chat templates, other trainers.

Rows of the workspace have a mark in a message's text where a picture stands, and the names of their files beside it, in
`pictures`. Standard library only.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PICTURE_MARK = "\ufffc"
"""Unicode's object replacement character."""
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
"""By the suffix of a picture's file."""


def in_parts(message: Mapping[str, Any], picture: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The message with a list of parts as its content: its texts, and for each picture what `picture` makes of its
    name. A message without pictures stays as it is."""
    names = message.get("pictures")
    if not names:
        return dict(message)
    parts: list[dict[str, Any]] = []
    for number, text in enumerate(message["content"].split(PICTURE_MARK)):
        if number:
            parts.append(picture(names[number - 1]))
        if text:
            parts.append({"type": "text", "text": text})
    return {**{key: value for key, value in message.items() if key != "pictures"}, "content": parts}


def as_image_url(url: str) -> dict[str, Any]:
    """The part of a picture in OpenAI's form."""
    return {"type": "image_url", "image_url": {"url": url}}


def data_url(file: Path) -> str:
    """A picture's file as a data URL. Raises OSError."""
    encoded = base64.b64encode(file.read_bytes()).decode()
    return f"data:{MEDIA_TYPES[file.suffix.removeprefix('.')]};base64,{encoded}"
