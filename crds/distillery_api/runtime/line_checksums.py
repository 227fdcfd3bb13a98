"""Checksums of the lines of a file, in a second file beside it, `NAME.crc32`.

The rows of a run are for other programs as well, so they hold nothing but their fields. Beside them stand the CRC-32 of
each line, as eight hexadecimal digits, and last the CRC-32 of all these digits.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIX = ".crc32"
_DIGITS = 8


def checksums_path(path: Path) -> Path:
    """The file with the checksums of another."""
    return path.with_name(path.name + SUFFIX)


def checksum(line: bytes) -> bytes:
    """The checksum of a line, with or without its line end."""
    return b"%08x" % zlib.crc32(line.rstrip(b"\n"))


def checksums_file(checksums: Iterable[bytes]) -> bytes:
    """The content of a file of checksums."""
    digits = b"".join(checksums)
    return digits + checksum(digits)


def read_checksums(path: Path) -> Counter[bytes] | None:
    """How often each checksum occurs in a file of lines; None where nothing is known about them."""
    try:
        content = checksums_path(path).read_bytes()
    except OSError:
        return None
    digits, last = content[:-_DIGITS], content[-_DIGITS:]
    if last != checksum(digits):
        return None
    return Counter(digits[begin : begin + _DIGITS] for begin in range(0, len(digits), _DIGITS))


def checked_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """The number (from 1) and the bytes of each line; None in place of one that is not as it was written, and last,
    with the number 0, for each line that is missing. Raises OSError."""
    expected = read_checksums(path)
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            known = expected is None or expected[checksum(line)] > 0
            if expected is not None and known:
                expected[checksum(line)] -= 1
            yield number, line if known else None
    if expected is not None:
        yield from ((0, None) for _ in range(expected.total()))


def is_damaged(path: Path) -> bool:
    """Whether any line of a file is not as it was written. Raises OSError."""
    return any(line is None for _, line in checked_lines(path))
