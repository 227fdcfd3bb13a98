"""Text files in UTF-16, as Excel saves them ("Unicode text")."""

from __future__ import annotations

import codecs
import io
from typing import Any, BinaryIO, cast

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CHUNK = 64 * 1024


def as_utf8(stream: BinaryIO) -> BinaryIO:
    """The stream in UTF-8 if it begins with a byte order mark of UTF-16; any other one unchanged.

    What is not UTF-16 becomes U+FFFD.
    """
    if not stream.peek(2).startswith(UTF16_MARKS):  # type: ignore[attr-defined]
        return stream
    return cast(BinaryIO, io.BufferedReader(_Utf8Reader(stream), _CHUNK))


class _Utf8Reader(io.RawIOBase):
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = b" "
        while not self._pending and chunk:
            chunk = self._stream.read(_CHUNK)
            # A lone surrogate is no character of UTF-8.
            self._pending = self._decoder.decode(chunk, final=not chunk).encode(errors="replace")
        count = min(len(buffer), len(self._pending))
        buffer[:count], self._pending = self._pending[:count], self._pending[count:]
        return count
