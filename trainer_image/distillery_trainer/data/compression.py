"""Compressed files: gzip and zstd, recognised by their first bytes, since some servers decompress a file and keep its
name."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from distillery_trainer.runtime.files import LineError

_SUPPORTED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf": "7z",
}
_BUFFER = 256 * 1024


def decompressed(stream: BinaryIO) -> BinaryIO:
    """The bytes of a file, decompressed if they are compressed.

    Raises LineError for an unsupported compression. Reading raises OSError if a file is truncated or damaged.
    """
    start = stream.read(6)
    stream.seek(0)
    for magic, name in _UNSUPPORTED.items():
        if start.startswith(magic):
            raise LineError(1, f"the file is compressed with {name}; compress it with gzip or zstd, or not at all")
    codec = next((codec for magic, codec in _SUPPORTED.items() if start.startswith(magic)), None)
    if codec is None:
        return stream
    import pyarrow

    compressed = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), codec)
    return cast(BinaryIO, io.BufferedReader(compressed, _BUFFER))
