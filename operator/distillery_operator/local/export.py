"""Exports kept rows as plain chat rows, `{"messages": [...]}`, for other trainers."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from distillery_api.paths import Artefact, StageFolder, Workspace
from distillery_api.runtime.atomic_files import AtomicFile
from distillery_api.runtime.picture_parts import as_image_url, data_url, in_parts
from distillery_operator.local.folder_access import OutsideFolder, path_inside
from distillery_operator.local.run_result import read_run_result

STANDARD_OUTPUT = Path("-")


class ExportError(Exception):
    """The rows cannot be exported. The message says why and what to do."""


def export_rows(folder: Path, split: str, output: Path) -> int:
    """Write the rows of a split to a file, or to standard output for `-`. Returns their number.

    `folder` is that of a run or of its generate stage. Raises ExportError or OSError.
    """
    source = rows_file(folder, split)
    with source.open(encoding="utf-8") as lines, _opened(output) as write:
        count = 0
        for row in chat_rows(_with_pictures(_parsed(source, lines), Workspace(source.parent.parent).pictures)):
            write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def rows_file(folder: Path, split: str) -> Path:
    """The file of a split's kept rows. Raises ExportError."""
    own = StageFolder(folder).rows(split)
    if own.is_file():
        return own
    run = read_run_result(Workspace(folder).result)
    named = run.files.get(Artefact(split)) if run else None
    try:
        path = path_inside(folder, named) if named else None
    except OutsideFolder as error:
        raise ExportError(str(error)) from None
    if path is not None and path.is_file():
        return path
    raise ExportError(
        f"{folder} contains no {split} rows; give the folder of a run, such as runs/NAME, or of its generate stage"
    )


def chat_rows(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each row as one chat. A dialogue has a row for each trained turn, and becomes one chat with all turns."""
    pending: dict[str, Any] | None = None
    for row in rows:
        tools = {"tools": row["tools"]} if "tools" in row else {}
        chat = {"id": row["id"], "messages": [*row["prompt"], *row["completion"]], **tools}
        if pending is not None and not _continues(pending, chat):
            yield pending
        pending = chat
    if pending is not None:
        yield pending


def _continues(earlier: dict[str, Any], later: dict[str, Any]) -> bool:
    """Whether the later chat starts with all messages of the earlier one."""
    messages = earlier["messages"]
    return bool(earlier["id"] == later["id"] and later["messages"][: len(messages)] == messages)


def _with_pictures(rows: Iterable[dict[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
    """The rows with their pictures as data URLs, so that they stand for themselves."""

    def picture(name: str) -> dict[str, Any]:
        try:
            return as_image_url(data_url(folder / name))
        except OSError as error:
            raise ExportError(f"{folder / name}: the picture of a row cannot be read ({error.strerror})") from None

    for row in rows:
        yield {**row, "prompt": [in_parts(message, picture) for message in row["prompt"]]}


def _parsed(source: Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            row["prompt"], row["completion"], row["id"]
        except (ValueError, KeyError, TypeError):
            raise ExportError(
                f"{source}, line {number}: not a row of a generate stage; give the folder of a run"
            ) from None
        yield row


@contextlib.contextmanager
def _opened(output: Path) -> Iterator[Callable[[str], object]]:
    """Write text to the output, as UTF-8 whatever the locale. A file is written completely or not at all."""
    if output == STANDARD_OUTPUT:
        yield lambda text: sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    if output.is_dir():
        raise ExportError(f"{output} is a folder; give the name of a file in it")
    # A link keeps leading to its file. A pipe or a device, which may have no name but this one, is no file to replace.
    with output.open("wb") if _is_stream(output) else AtomicFile(output.resolve()) as stream:
        yield lambda text: stream.write(text.encode())


def _is_stream(path: Path) -> bool:
    return path.exists() and not path.is_file()
