"""Pictures in messages: a mark in the text where each stands, and its name beside the text.

A message stays a text for all that reads texts: filters, parsers, baselines, prompts. What a picture shows is in a file
under its name, which is a digest of the file's bytes (`picture_files.py`). So whatever covers a message, such as the
key of a reply in the journal, covers its pictures as well: another picture at the same address is another message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from distillery_trainer.data.rows import Message

MOST_PICTURES = 8
"""Of a row."""


def pictures_of(messages: Iterable[Message]) -> list[str]:
    """The names of all pictures of a conversation, in order."""
    return [name for message in messages for name in message.get("pictures", ())]


def with_pictures_of(message: Message, messages: Iterable[Message]) -> Message:
    """A message whose text quotes these messages, marks and all, with their pictures."""
    names = pictures_of(messages)
    return cast("Message", {**message, "pictures": names}) if names else message


def count_problem(messages: Sequence[Message]) -> str | None:
    """Why these are more pictures than a row may have; None if they are not."""
    count = len(pictures_of(messages))
    return f"the row has {count} pictures; at most {MOST_PICTURES} are supported" if count > MOST_PICTURES else None
