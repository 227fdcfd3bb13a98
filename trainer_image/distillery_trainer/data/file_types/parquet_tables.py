"""Parquet: the rows of a table, a few at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from distillery_api.spec import Columns
from distillery_trainer.data.file_types.csv_tables import check_names
from distillery_trainer.data.file_types.parquet_cells import cell_values, unpacked_bytes
from distillery_trainer.data.file_types.parquet_limits import check_footer, check_sizes, lists_of_texts, rows_at_a_time
from distillery_trainer.data.file_types.record import Record
from distillery_trainer.data.formats import named, needed_columns
from distillery_trainer.runtime.files import ROW_LIMIT, LineError

PARQUET_MARK = b"PAR1"
_BUFFER = 1024 * 1024
"""Bytes of a column that are read at a time."""
_BATCH_BYTES = 16 * 1024 * 1024
"""Rows that are unpacked together; those of a larger batch are looked at one by one."""
_CELL_ERRORS = (ValueError, ArithmeticError, LookupError)
"""Raised for a cell that has no Python value: text that is not UTF-8, a date after the year 9999, …"""


def parquet_records(
    stream: BinaryIO, columns: Columns | None = None, conditions: Collection[str] = ()
) -> Iterator[Record | LineError]:
    """The rows of a table; of the named columns, and those of the conditions, alone if there are all of them."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        check_footer(stream)
        with parquet.ParquetFile(stream) as table:
            check_names(1, table.schema_arrow.names)
            wanted = _wanted(table.schema_arrow.names, columns, conditions)
            check_sizes(table, wanted, stream)
            rows, texts, metadata = rows_at_a_time(table, wanted, stream), lists_of_texts(table), table.metadata
        with parquet.ParquetFile(
            stream, metadata=metadata, read_dictionary=texts, pre_buffer=False, buffer_size=_BUFFER
        ) as table:
            for batch in table.iter_batches(rows, columns=wanted, use_threads=False):
                yield from _batch_records(batch, number)
                number += batch.num_rows
    except UnicodeDecodeError:
        yield LineError(number + 1, "a column name is not UTF-8; store text as UTF-8")
    except MemoryError:  # also that of Arrow
        yield LineError(number + 1, "the row takes more memory than there is; split or shorten it")
    except pyarrow.ArrowException as error:
        yield LineError(number + 1, _batch_problem(str(error)))


def _wanted(names: list[str], columns: Columns | None, conditions: Collection[str]) -> list[str] | None:
    """The columns to read; None for all of them."""
    wanted = needed_columns(columns, names) if columns else None
    also = {part for key in conditions for part in (key, key.partition(".")[0])}
    return [name for name in names if name in wanted | also] if wanted else None


def _batch_records(batch: Any, before: int) -> Iterator[Record | LineError]:
    """The rows of a batch that follows `before` rows. If not all can be read, each is tried, to name the bad ones."""
    try:
        if sum(map(unpacked_bytes, batch.columns)) > _BATCH_BYTES:
            raise ValueError("one of the rows may be too long")
        cells = [cell_values(column) for column in batch.columns]
        names = batch.schema.names
        return (
            (number, dict(zip(names, row, strict=True)))
            for number, row in enumerate(zip(*cells, strict=True), before + 1)
        )
    except _CELL_ERRORS:
        return (_parquet_record(before + index + 1, batch.slice(index, 1)) for index in range(batch.num_rows))


def _parquet_record(number: int, row: Any) -> Record | LineError:
    cells = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        if unpacked_bytes(column) > ROW_LIMIT:
            return LineError(number, f"the column {named(name)} is longer than {ROW_LIMIT:,} bytes; {_SHORTEN}")
        try:
            [cells[name]] = cell_values(column)
        except UnicodeDecodeError as error:
            return LineError(number, f"the column {named(name)} is not UTF-8 ({error.reason}); store text as UTF-8")
        except _CELL_ERRORS as error:
            return LineError(
                number, f"the column {named(name)} cannot be read ({error}); remove it, or store it as UTF-8 text"
            )
    return number, cells


_SHORTEN = "shorten it, or remove the column"


def _batch_problem(error: str) -> str:
    """What is wrong with a batch of which no row can be read."""
    if "UTF8" in error:
        return f"text from here on is not UTF-8 ({error}); store text as UTF-8"
    first_line, _, _ = error.partition("\n")
    return f"not Parquet, or damaged ({first_line})"
