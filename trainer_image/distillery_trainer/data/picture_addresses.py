"""From the address of a picture in a row to its bytes: in the row itself, beside the rows, or where the manifest has
the rows from.

Rows are data, often of others, so they do not choose which servers and folders are read: an address may lead only to
the place that the manifest names for the rows, with the same rules as for the rows themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from distillery_api.formatting import cleaned
from distillery_trainer.data.addresses import without_secrets
from distillery_trainer.data.formats.conversation import InvalidRow
from distillery_trainer.data.picture_files import PICTURE_BYTES, InvalidPicture, decoded
from distillery_trainer.data.remote_files import is_remote, read_file
from distillery_trainer.data.rows import Message
from distillery_trainer.data.sources import Source
from distillery_trainer.runtime.errors import UserError

_SHOWN_BYTES = 200


class RowPictures:
    """The pictures of the rows of one source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the names of their pictures in place of their addresses, each picture read, checked and
        kept. Raises InvalidRow; TryLater where a server cannot be reached."""
        return [self._with_names(message) if "pictures" in message else message for message in messages]

    def _with_names(self, message: Message) -> Message:
        return cast("Message", {**message, "pictures": [self._name(address) for address in message["pictures"]]})

    def _name(self, address: str) -> str:
        is_data = address[:5].lower() == "data:"
        shown = "in the row" if is_data else cleaned(without_secrets(address), _SHOWN_BYTES)
        try:
            if is_data:
                return self._source.pictures.add(decoded(address))
            location = self._location(address)
            return self._source.pictures.name_at(location, lambda: _content(location))
        except InvalidPicture as error:
            raise InvalidRow(f"the picture {shown} {error}") from error

    def _location(self, address: str) -> str:
        """The path or URL that an address means. Raises InvalidPicture for one that leads elsewhere than the rows."""
        if ".." in re.split(r"[/\\]", address) or "\0" in address:
            raise InvalidPicture('has a part ".."; write its address without one')
        if "://" not in address:
            return self._beside(address)
        if is_remote(address):
            return self._on_same_server(address)
        return self._in_same_named(address)

    def _beside(self, name: str) -> str:
        path = self._source.path
        if not is_remote(path):
            return self._within(str(Path(path).parent / name))
        folder = path.partition("?")[0].partition("#")[0].rpartition("/")[0]
        return f"{folder}/{name.lstrip('/')}"

    def _on_same_server(self, url: str) -> str:
        path = self._source.path
        if not is_remote(path) or _named(url) != _named(path):
            raise InvalidPicture(
                "is on a server that the manifest does not name; rows may have pictures from where they are themselves,"
                " so put both there, or write the picture into the row as a data URL"
            )
        return url

    def _in_same_named(self, uri: str) -> str:
        root, path = self._source.root, None
        if not is_remote(self._source.path) and uri.startswith("file://"):
            path = uri.removeprefix("file://")
        elif root and root.bound and uri.startswith(root.uri):
            path = root.path + root.name_of(uri)
        if path is None:
            raise InvalidPicture(
                "is in another place than the rows; put it beside them, or write it into the row as a data URL"
            )
        return self._within(path)

    def _within(self, path: str) -> str:
        """A path that does not leave the place of the rows, by a link or otherwise."""
        root = self._source.root
        bound = Path(root.path) if root and root.path else Path(self._source.path).parent
        if not Path(path).resolve().is_relative_to(bound.resolve()):
            raise InvalidPicture("is outside of the folder of the rows; put it there")
        return path


def _named(url: str) -> tuple[str, ...]:
    """What the manifest names with a URL: a web server, a bucket or container, a dataset."""
    if url.startswith("hf://"):
        return tuple(url.split("/")[:5])
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _content(location: str) -> bytes:
    """The bytes at a path or URL, one more than a picture may have at most. Raises InvalidPicture, TryLater."""
    if is_remote(location):
        try:
            return read_file(location, without_secrets(location), PICTURE_BYTES + 1)
        except UserError as error:
            problem = error.message.removeprefix(f"{without_secrets(location)}: ").rstrip(".")
            raise InvalidPicture(f"cannot be used: {problem}") from error
    try:
        with open(location, "rb") as stream:
            return stream.read(PICTURE_BYTES + 1)
    except FileNotFoundError:
        raise InvalidPicture("does not exist") from None
    except OSError as error:
        raise InvalidPicture(f"cannot be read ({error.strerror})") from None
