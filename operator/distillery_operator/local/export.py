"""The kept rows as plain chat rows, `{"messages": [...]}`, which other trainers take."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from distillery_api.paths import StageFolder, Workspace
from distillery_operator.local.run_result import read_run_result

STANDARD_OUTPUT = Path("-")


class ExportError(Exception):
    """There is nothing to export; the message is a sentence with a remedy."""


def export_rows(folder: Path, split: str, output: Path) -> int:
    """Write the rows of a split to a file, or to standard output for `-`; how many there are.

    `folder` is that of a run or of its generate stage. Raises ExportError or OSError.
    """
    source = rows_file(folder, split)
    with source.open(encoding="utf-8") as lines, _opened(output) as target:
        count = 0
        for row in chat_rows(_parsed(source, lines)):
            target.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def rows_file(folder: Path, split: str) -> Path:
    """The file of a split's kept rows. Raises ExportError."""
    own = StageFolder(folder).rows(split)
    if own.is_file():
        return own
    run = read_run_result(Workspace(folder).result)
    named = run.files.get(split) if run else None
    if named and (folder / named).is_file():
        return folder / named
    raise ExportError(
        f"{folder} holds no {split} rows; name the folder of a run, such as runs/NAME, or of its generate stage"
    )


def chat_rows(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each row as one chat. A dialogue, of which each trained turn is a row, comes once, as a whole."""
    waiting: dict[str, Any] | None = None
    for row in rows:
        chat = {"id": row["id"], "messages": [*row["prompt"], *row["completion"]]}
        if waiting is not None and not _goes_on(waiting, chat):
            yield waiting
        waiting = chat
    if waiting is not None:
        yield waiting


def _goes_on(earlier: dict[str, Any], later: dict[str, Any]) -> bool:
    """Whether the later chat begins with all of the earlier one."""
    messages = earlier["messages"]
    return bool(earlier["id"] == later["id"] and later["messages"][: len(messages)] == messages)


def _parsed(source: Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            row["prompt"], row["completion"], row["id"]
        except (ValueError, KeyError, TypeError):
            raise ExportError(f"{source}, line {number}: not a row of a generate stage") from None
        yield row


@contextlib.contextmanager
def _opened(output: Path) -> Iterator[IO[str]]:
    """The output; a file appears whole or not at all."""
    if output == STANDARD_OUTPUT:
        yield sys.stdout
        return
    if output.is_dir():
        raise ExportError(f"{output} is a folder; name the file to write in it")
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        Path(draft).chmod(0o644)
        Path(draft).replace(output)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
