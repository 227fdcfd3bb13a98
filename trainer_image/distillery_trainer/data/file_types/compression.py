"""Compressed files: gzip and zstd, recognised by their first bytes, since some servers decompress a file and keep its
name."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast

from distillery_trainer.data.file_types.record import UnusableFile

_SUPPORTED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
COMPRESSED_MARKS = tuple(_SUPPORTED)
_BUFFER = 256 * 1024
_UNPACKED_BYTES = 64 * 1024 * 1024
"""A file that unpacks to no more is read, however small it is."""
_UNPACKED_RATIO = 400
"""How many times its own size a larger file may unpack to. Rows of text unpack to 5 to 100 times."""


def decompressed(stream: BinaryIO) -> BinaryIO:
    """The bytes of a file, decompressed if they are compressed.

    Reading raises OSError if a file is truncated or damaged, and UnusableFile if it unpacks to far more than text does.
    """
    start = stream.read(4)
    stream.seek(0)
    codec = next((codec for magic, codec in _SUPPORTED.items() if start.startswith(magic)), None)
    if codec is None:
        return stream
    return io.BufferedReader(_BoundedReader(stream, codec), _BUFFER)


class _BoundedReader(io.RawIOBase):
    """Decompresses a stream, until it turns out to be a decompression bomb."""

    def __init__(self, stream: BinaryIO, codec: str) -> None:
        import pyarrow

        self._limit = max(_UNPACKED_BYTES, _size(stream) * _UNPACKED_RATIO)
        self._codec, self._unpacked = codec, 0
        self._stream = cast(Any, pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), codec))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        self._unpacked += len(chunk)
        if self._unpacked > self._limit:
            raise UnusableFile(
                f"its {self._codec} data unpacks to more than {self._limit:,} bytes, over {_UNPACKED_RATIO} times its"
                " size, which rows of text never do; check the file, or store it without compression"
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _size(stream: BinaryIO) -> int:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size
