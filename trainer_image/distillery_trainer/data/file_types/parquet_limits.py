"""Bounds of a Parquet file, checked before a column is unpacked: a file of a kilobyte may hold one value of gigabytes,
or say that it repeats one a billion times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from distillery_trainer.data.file_types.parquet_pages import dictionary_bytes
from distillery_trainer.data.file_types.record import UnusableFile
from distillery_trainer.data.formats import named

_MIB = 1024 * 1024
_FOOTER_BYTES = 32 * _MIB
"""A footer takes ten times its size in memory."""
_UNPACKED_RATIO = 100
"""How many times its size in the file a large column may unpack to. Text unpacks to 2 to 20 times."""
_MANY_VALUES, _MOST_VALUES = 4_000_000, 20_000_000
_VALUES_PER_ROW = 100
_BYTES_PER_VALUE = 3
"""Lists of more values must take space in the file, as figures do; a value that is only repeated takes none."""
_DICTIONARY_BYTES = 2 * _MIB
_BATCH_ROWS = 256
_BATCH_BYTES = 32 * _MIB


@dataclass(frozen=True)
class _ColumnChunk:
    """A column of one row group, as the footer describes it."""

    rows: int
    name: str
    values: int
    packed: int
    unpacked: int
    """Bytes in the file, and after decompression."""
    start: int
    """Where its first page begins."""
    repeats_parts: bool
    """Whether a value may be written as a difference from the one before it."""

    @property
    def is_bomb(self) -> bool:
        """Whether it unpacks to far more than rows of text do. A page that is unpacked as a whole may hold 1,024 rows,
        so the rows must not be long either."""
        row_bytes, ratio = self.unpacked / max(1, self.rows), self.unpacked / max(1, self.packed)
        if self.unpacked > 128 * _MIB:
            return ratio > _UNPACKED_RATIO or row_bytes > _MIB / 4
        return self.unpacked > 16 * _MIB and ratio > _UNPACKED_RATIO and row_bytes > _MIB / 64

    @property
    def repeats_values(self) -> bool:
        """Whether its lists have far more values than its bytes could tell apart."""
        allowed = max(self.rows, min(max(_MANY_VALUES, _VALUES_PER_ROW * self.rows), _MOST_VALUES))
        return self.values > allowed and self.unpacked < _BYTES_PER_VALUE * self.values


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


def check_sizes(table: Any, columns: list[str] | None, stream: BinaryIO) -> None:
    """Raise UnusableFile if a column that is read unpacks to far more than rows of text do."""
    for chunk in _chunks(table, columns):
        unpacked = f"{chunk.values:,} values" if chunk.repeats_values else f"{chunk.unpacked:,} bytes"
        if chunk.is_bomb or chunk.repeats_values or _has_dictionary_bomb(chunk, stream):
            raise UnusableFile(
                f"its column {named(chunk.name)} unpacks from {chunk.packed:,} bytes to {unpacked} in {chunk.rows:,}"
                " rows, more than rows of text do; remove the column, or write row groups of fewer rows"
            )


def _has_dictionary_bomb(chunk: _ColumnChunk, stream: BinaryIO) -> bool:
    """Whether the dictionary unpacks to far more than the different values of rows do."""
    size = dictionary_bytes(stream, chunk.start) or 0
    return size > _DICTIONARY_BYTES and size > _UNPACKED_RATIO * chunk.packed


def rows_at_a_time(table: Any, columns: list[str] | None, stream: BinaryIO) -> int:
    """How many rows to unpack at a time, since a value that stands in the file once is copied into each of the rows
    that repeat it."""
    largest = max((_repeatable_bytes(chunk, stream) for chunk in _chunks(table, columns)), default=0)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, largest)))


def lists_of_texts(table: Any) -> list[str]:
    """The columns whose texts stand in lists. They are kept as numbers of a dictionary while they are read: the list of
    a single row may repeat a text without end."""
    schema = table.schema
    columns = (schema.column(number) for number in range(len(schema)))
    return [column.path for column in columns if column.max_repetition_level and column.physical_type == "BYTE_ARRAY"]


def _repeatable_bytes(chunk: _ColumnChunk, stream: BinaryIO) -> int:
    """No value that is repeated is longer than this."""
    if chunk.repeats_parts:
        return chunk.unpacked
    known = dictionary_bytes(stream, chunk.start)
    return chunk.unpacked if known is None else known


def _chunks(table: Any, columns: list[str] | None) -> Iterator[_ColumnChunk]:
    """The column chunks that are read."""
    for group in range(table.num_row_groups):
        row_group = table.metadata.row_group(group)
        for number in range(row_group.num_columns):
            chunk = row_group.column(number)
            path = f"{chunk.path_in_schema}."
            if columns is None or any(path.startswith(f"{name}.") for name in columns):
                yield _ColumnChunk(
                    row_group.num_rows,
                    chunk.path_in_schema,
                    chunk.num_values,
                    chunk.total_compressed_size,
                    chunk.total_uncompressed_size,
                    chunk.dictionary_page_offset or chunk.data_page_offset,
                    "DELTA_BYTE_ARRAY" in chunk.encodings,
                )
