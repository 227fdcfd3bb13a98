"""Tiny pictures, rows that show them, and a teacher that answers by what it is shown."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from chat_protocol import Answer, Message, text_of
from chat_server import TeacherServer

COLOUR_PROMPT = "What colour is the picture?"


def picture(colour: str | tuple[int, int, int] = "red", size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    """The file of a picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def data_url(content: bytes, kind: str = "png") -> str:
    """The picture as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def shown(address: str, text: str = COLOUR_PROMPT) -> list[dict[str, Any]]:
    """The content of a message: the picture at an address, then a text."""
    return [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": text}]


def picture_row(address: str, gold: str | None = None, text: str = COLOUR_PROMPT) -> dict[str, Any]:
    """A row in OpenAI's form."""
    return {"messages": [{"role": "user", "content": shown(address, text)}], **({"gold": gold} if gold else {})}


def pictures_in(messages: Sequence[Message]) -> list[bytes]:
    """The files in the data URLs of a request."""
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [base64.b64decode(url.partition(";base64,")[2], validate=True) for url in urls]


def digest(content: bytes) -> str:
    """What a picture's file is called, without its suffix."""
    return hashlib.sha256(content).hexdigest()


def picture_teacher(gold: Mapping[tuple[str, str], str], **server: Any) -> TeacherServer:
    """A server that answers from gold, by the digest of the first picture and a text that the prompt holds."""

    def answer(messages: Sequence[Message]) -> Answer:
        found = pictures_in(messages)
        key = digest(found[0]) if found else ""
        prompt = " ".join(text_of(message) for message in messages)
        label = next((label for (name, text), label in gold.items() if name == key and text in prompt), "unknown")
        return Answer(label, f"I see that the answer is {label}.")

    return TeacherServer(answer, **server)


def gold_of_pictures(*splits: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """What such a teacher has to know to answer rows whose pictures are data URLs."""
    gold = {}
    for row in (row for rows in splits for row in rows):
        last = row["messages"][-1]
        gold[digest(pictures_in([last])[0]), text_of(last).strip()] = row["gold"]
    return gold
