"""One source of rows, for tests, without a run around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from distillery_api.spec import DataSource
from distillery_trainer.data.addresses import without_secrets
from distillery_trainer.data.remote_files import Downloads
from distillery_trainer.data.row_reader import check_rows, parsed_rows
from distillery_trainer.data.rows import RejectedRow, Row
from distillery_trainer.data.sources import Source
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.files import LineError


def source(path: Path | str, split: str = "train", scratch: Path | None = None, **settings: Any) -> Source:
    """A source of a file or a URL; settings as in the manifest."""
    given = DataSource.model_validate({"uri": "rows.jsonl", **settings})
    return Source(
        split, without_secrets(str(path), query="…"), str(path), given, Downloads(scratch or Path(path).parent)
    )


def write(folder: Path, name: str, content: bytes) -> Path:
    """A file in a folder."""
    path = folder / name
    path.write_bytes(content)
    return path


def rows_of(folder: Path, content: bytes, name: str = "rows.jsonl", **settings: Any) -> list[Any]:
    """What is read from a file of this content: rows, skipped records and errors."""
    return list(parsed_rows(source(write(folder, name, content), **settings)))


def refusal(folder: Path, content: bytes, name: str = "rows.jsonl", **settings: Any) -> str:
    """The error of a file that cannot be used, after its location."""
    where = source(write(folder, name, content), **settings)
    with pytest.raises(UserError) as error:
        check_rows([where], lambda _: None)
    return error.value.message.removeprefix(f"data.train: {where.path}: ")


def row_of(folder: Path, record: dict[str, Any], **settings: Any) -> Row:
    """The row in a file of one record."""
    [row] = rows_of(folder, orjson.dumps(record), **settings)
    assert isinstance(row, Row), row
    return row


def rule_of(folder: Path, record: dict[str, Any], **settings: Any) -> str:
    """The rule that a record breaks."""
    [error] = rows_of(folder, orjson.dumps(record), **settings)
    assert isinstance(error, LineError), error
    return str(error)


def skipped_record(folder: Path, record: dict[str, Any], **settings: Any) -> tuple[str, str]:
    """Reason and message of a skipped record."""
    [row] = rows_of(folder, orjson.dumps(record), **settings)
    assert isinstance(row, RejectedRow), row
    return row.reason, row.message
