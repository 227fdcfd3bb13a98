"""The first page of a Parquet column: how large its dictionary is, which a file's footer does not say.

A page begins with a header in Thrift's compact protocol, whose first two fields are its type and its size after
decompression (parquet.thrift, PageHeader).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_HEADER_BYTES = 16
_NEXT_FIELD_IS_INTEGER = 0x15
_DICTIONARY_PAGE = 2


def dictionary_bytes(stream: BinaryIO, start: int) -> int | None:
    """The unpacked bytes of the dictionary in the page at `start`; 0 if it is another page, None if it is unreadable.

    The stream's position changes.
    """
    try:
        stream.seek(start)
        header = iter(stream.read(_HEADER_BYTES))
        kind, size = _integer_field(header), _integer_field(header)
    except (OSError, ValueError, StopIteration):
        return None
    return size if kind == _DICTIONARY_PAGE else 0


def _integer_field(header: Iterator[int]) -> int:
    """The next field: its mark, then the integer as a zigzag varint. Raises ValueError or StopIteration."""
    if next(header) != _NEXT_FIELD_IS_INTEGER:
        raise ValueError("no integer field")
    number = shift = 0
    while (byte := next(header)) & 0x80:
        number |= (byte & 0x7F) << shift
        shift += 7
    number |= byte << shift
    return (number >> 1) ^ -(number & 1)
