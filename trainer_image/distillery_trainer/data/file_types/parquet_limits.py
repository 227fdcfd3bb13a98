"""Bounds of a Parquet file, checked in its footer before a column is unpacked: a file of a kilobyte may hold one value
of gigabytes, or say that it repeats one a billion times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from distillery_trainer.data.file_types.record import UnusableFile
from distillery_trainer.data.formats import named

_FOOTER_BYTES = 32 * 1024 * 1024
"""A footer takes ten times its size in memory."""
_LARGE_CHUNK = 128 * 1024 * 1024
_UNPACKED_RATIO = 100
"""How many times its compressed size a large column chunk may unpack to. Text unpacks to 2 to 20 times."""
_BYTES_PER_ROW = 16 * 1024 * 1024
_MANY_VALUES = 4_000_000
_MOST_VALUES = 20_000_000
_VALUES_PER_ROW = 100
"""Lists of more values must take space in the file, as figures do; a value that is only repeated takes none."""
_BYTES_PER_VALUE = 3
_BATCH_ROWS = 256
_BATCH_BYTES = 32 * 1024 * 1024


def check_footer(stream: BinaryIO) -> None:
    """Raise UnusableFile if the footer is too large to be read."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 8))
    length = int.from_bytes(stream.read(4), "little")
    stream.seek(0)
    if _FOOTER_BYTES < length <= size:
        raise UnusableFile(
            f"its description of columns and row groups takes {length:,} bytes; keep the columns with the rows, and"
            " write larger row groups"
        )


def check_sizes(table: Any, columns: list[str] | None) -> None:
    """Raise UnusableFile if a column that is read unpacks to far more than rows of text do."""
    for rows, chunk in _chunks(table, columns):
        name, size, packed = named(chunk.path_in_schema), chunk.total_uncompressed_size, chunk.total_compressed_size
        many_values = min(max(_MANY_VALUES, _VALUES_PER_ROW * rows), _MOST_VALUES)
        if (size > _LARGE_CHUNK and size > _UNPACKED_RATIO * packed) or size > max(_LARGE_CHUNK, _BYTES_PER_ROW * rows):
            raise UnusableFile(
                f"its column {name} unpacks from {packed:,} to {size:,} bytes for {rows:,} rows, which rows of text"
                " never do; check the file"
            )
        if chunk.num_values > max(rows, many_values) and size < _BYTES_PER_VALUE * chunk.num_values:
            raise UnusableFile(
                f"its column {name} unpacks from {packed:,} bytes to {chunk.num_values:,} values for {rows:,} rows,"
                " which rows of text never do; check the file"
            )


def rows_at_a_time(table: Any, columns: list[str] | None) -> int:
    """How many rows to unpack at a time. No value is larger than its column chunk; but a value that stands in the file
    once is copied into each of the rows that repeat it."""
    largest = max((chunk.total_uncompressed_size for _, chunk in _chunks(table, columns)), default=0)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, largest)))


def _chunks(table: Any, columns: list[str] | None) -> Iterator[tuple[int, Any]]:
    """The column chunks that are read, each with the number of its rows."""
    for group in range(table.num_row_groups):
        row_group = table.metadata.row_group(group)
        for number in range(row_group.num_columns):
            chunk = row_group.column(number)
            path = f"{chunk.path_in_schema}."
            if columns is None or any(path.startswith(f"{name}.") for name in columns):
                yield row_group.num_rows, chunk
