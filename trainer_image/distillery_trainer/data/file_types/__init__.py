"""The file types of sources: JSON Lines, JSON lists, CSV and Parquet. Each yields numbered records, one at a time, so
that memory does not grow with the file.

What a record means belongs in formats/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, cast

from distillery_api.spec import DataFormat
from distillery_trainer.data.file_types.compression import decompressed
from distillery_trainer.data.file_types.csv_tables import csv_records
from distillery_trainer.data.file_types.foreign_files import refuse_foreign_file, refuse_json
from distillery_trainer.data.file_types.json_lines import json_records
from distillery_trainer.data.file_types.json_lists import json_list_records, starts_list
from distillery_trainer.data.file_types.parquet_tables import PARQUET_MARK, parquet_records
from distillery_trainer.data.file_types.record import Record, UnusableFile
from distillery_trainer.data.file_types.utf16 import as_utf8
from distillery_trainer.data.sources import Source
from distillery_trainer.runtime.files import LineError

_COMPRESSED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
_FIRST_BYTES = 4096


def records(source: Source, stream: BinaryIO) -> Iterator[Record | LineError]:
    """The records of a source; for an unreadable one, its error. Raises UserError if the whole file is unusable."""
    number = 0
    try:
        for item in _read(source, stream):
            number = item.line if isinstance(item, LineError) else item[0]
            yield item
    except LineError as error:
        yield error
    except UnusableFile as error:
        raise source.unusable(str(error)) from error
    except OSError as error:
        yield LineError(number + 1, f"the rest of the file cannot be read: it is truncated or damaged ({error})")


def _read(source: Source, stream: BinaryIO) -> Iterator[Record | LineError]:
    start = _first_bytes(stream)
    refuse_foreign_file(start)
    if _is_parquet(source, start):
        source.note_rows()
        return parquet_records(stream, source.settings.columns, source.settings.where or ())
    text = decompressed(stream)
    if text is not stream:
        refuse_foreign_file(_first_bytes(text), compressed=True)
    if _is_csv(source):
        refuse_json(_first_bytes(text))
        return csv_records(as_utf8(text), _delimiter(source), source.settings.columns)
    if starts_list(_first_bytes(text)):
        source.note_rows()
        return json_list_records(text)
    return json_records(text)


def _first_bytes(stream: BinaryIO) -> bytes:
    return cast(bytes, stream.peek(_FIRST_BYTES)[:_FIRST_BYTES])  # type: ignore[attr-defined]


def _is_parquet(source: Source, start: bytes) -> bool:
    named = source.settings.format is DataFormat.PARQUET or source.name.endswith(".parquet")
    return source.settings.format is not DataFormat.CSV and (named or start.startswith(PARQUET_MARK))


def _is_csv(source: Source) -> bool:
    return (
        source.settings.format is DataFormat.CSV
        or _suffix(source) in ("csv", "tsv")
        or _chosen_delimiter(source) is not None
    )


def _delimiter(source: Source) -> str | None:
    """What separates the cells; None where the file tells."""
    return _chosen_delimiter(source) or ("\t" if _suffix(source) == "tsv" else None)


def _chosen_delimiter(source: Source) -> str | None:
    return source.settings.columns.delimiter if source.settings.columns else None


def _suffix(source: Source) -> str:
    """The suffix of the file's name, apart from that of a compression."""
    name = source.name
    for suffix in _COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.rpartition(".")[2]
