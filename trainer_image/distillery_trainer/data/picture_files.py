"""The files of pictures: checked once, and kept in the workspace under the digest of their bytes.

They lie beside the reply journal and not among the rows of one run: a paid reply was about a picture that may be needed
again, a picture that many rows and runs have is kept once, and lines of files of rows stay short.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillery_api.reasons import Reason
from distillery_api.runtime.picture_parts import MEDIA_TYPES, data_url
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_BYTES = 8 * 1024 * 1024
"""Of a file, at most."""
_TOO_LARGE = f"is larger than {PICTURE_BYTES:,} bytes; make it smaller"
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,40};base64,", re.ASCII | re.IGNORECASE)
_MOST_PIXELS = 16_000_000
_LONGEST_SIDE_RATIO = 100
"""Longer strips are refused by the image processors of some families."""
_SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


class InvalidPicture(Exception):
    """A file that is not a picture which models can read. The message is the end of a sentence."""


class PictureFiles:
    """The pictures of a workspace."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}

    def name_at(self, address: str, read: Callable[[], bytes]) -> str:
        """The name of the picture at an address, which is read once in the life of this object: all passes over the
        rows find the same one. Raises InvalidPicture, and what `read` raises."""
        if address not in self._names:
            self._names[address] = self.add(read())
        return self._names[address]

    def add(self, content: bytes) -> str:
        """Keep a picture, and return its name. Raises InvalidPicture, and UserError where the volume is full."""
        if len(content) > PICTURE_BYTES:
            raise InvalidPicture(_TOO_LARGE)
        digest = hashlib.sha256(content).hexdigest()
        for suffix in MEDIA_TYPES:
            if (self._folder / f"{digest}.{suffix}").exists():
                return f"{digest}.{suffix}"
        name = f"{digest}.{_checked_suffix(content)}"
        write_atomically(self._folder / name, content)
        return name

    def data_url(self, name: str) -> str:
        """A picture as requests carry it. Raises UserError where it is gone."""
        with self._losses_explained(name):
            return data_url(self._folder / name)

    def opened(self, name: str) -> Image:
        """A picture as people see it: upright, in red, green and blue. Raises UserError where it is gone."""
        return _upright(self._content(name))

    def _content(self, name: str) -> bytes:
        with self._losses_explained(name):
            return (self._folder / name).read_bytes()

    @contextlib.contextmanager
    def _losses_explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self._folder / name}: the picture of a row cannot be read ({error.strerror}); run"
                " generate again, which reads pictures anew and pays for no reply twice.",
                reason=Reason.INVALID_DATA,
            ) from error


def decoded(url: str) -> bytes:
    """The bytes in a data URL. Raises InvalidPicture."""
    if not _DATA_URL.match(url):
        raise InvalidPicture("has no base64 data; write data:image/png;base64,…")
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidPicture("is not valid base64") from None


def opened_picture(content: bytes) -> Image:
    """A picture that nobody has checked yet, as people see it. Raises InvalidPicture."""
    if len(content) > PICTURE_BYTES:
        raise InvalidPicture(_TOO_LARGE)
    _checked_suffix(content)
    return _upright(content)


def _upright(content: bytes) -> Image:
    from PIL import ImageOps

    with _pillow().open(io.BytesIO(content), formats=list(_SUFFIXES)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _checked_suffix(content: bytes) -> str:
    """The suffix of a picture's file, once all of it was decoded. Raises InvalidPicture."""
    library = _pillow()
    try:
        with warnings.catch_warnings(), library.open(io.BytesIO(content), formats=list(_SUFFIXES)) as image:
            warnings.simplefilter("ignore")
            if problem := _size_problem(*image.size) or _animation_problem(image):
                raise InvalidPicture(problem)
            image.load()
            return _SUFFIXES[str(image.format)]
    except library.UnidentifiedImageError:
        raise InvalidPicture("is not a picture in PNG, JPEG or WebP") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, library.DecompressionBombError) as error:
        raise InvalidPicture(
            f"is damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error


def _size_problem(width: int, height: int) -> str | None:
    if width * height > _MOST_PIXELS:
        return f"has {width} x {height} pixels; at most {_MOST_PIXELS:,} are supported, so make it smaller"
    if max(width, height) > _LONGEST_SIDE_RATIO * min(width, height):
        return f"is a strip of {width} x {height} pixels; at most {_LONGEST_SIDE_RATIO} to 1 is supported"
    return None


def _animation_problem(image: Image) -> str | None:
    return "is animated; save one of its frames" if getattr(image, "is_animated", False) else None


def _pillow() -> Any:
    """The library of pictures, which rows of texts alone do not need. Raises UserError."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(
            "Rows with pictures need the library Pillow: install Distillery with the extra trainer.",
            reason=Reason.INVALID_DATA,
        ) from error
    return Image
