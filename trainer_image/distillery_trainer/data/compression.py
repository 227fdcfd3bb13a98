"""Files that are packed: gzip and zstd, told by their first bytes, since some servers unpack what they send and keep
the name."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from distillery_trainer.runtime.files import LineError

_READ = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_NOT_READ = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf": "7z",
}
_BUFFER = 256 * 1024


def unpacked(stream: BinaryIO) -> BinaryIO:
    """The bytes of a file, unpacked where they are packed.

    Raises LineError for what cannot be unpacked. Reading raises OSError where a packed file is cut off or damaged.
    """
    start = stream.read(6)
    stream.seek(0)
    for magic, name in _NOT_READ.items():
        if start.startswith(magic):
            raise LineError(1, f"the file is packed with {name}; pack it with gzip or zstd, or not at all")
    codec = next((codec for magic, codec in _READ.items() if start.startswith(magic)), None)
    if codec is None:
        return stream
    import pyarrow

    packed = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), codec)
    return cast(BinaryIO, io.BufferedReader(packed, _BUFFER))
