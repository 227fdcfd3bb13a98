"""The files of rows that a path names: one file, a folder, or a pattern such as part-*.parquet. For both sides: the
local run takes their digests, and the trainer reads them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

FILE_LIMIT = 10_000
"""Maximum number of files of one source."""
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What the name of a file in a folder ends with if it holds rows."""
_COMPRESSIONS = (".gz", ".gzip", ".zst", ".zstd")
_HIDDEN = (".", "_")
"""Begins the names of files that other programs keep beside rows, such as _SUCCESS and .cache."""


def is_pattern(name: str) -> bool:
    """Whether a name that no file has may be a pattern: *, ? and [abc] stand for characters, ** for any folders."""
    return glob.has_magic(name)


def holds_rows(name: str) -> bool:
    """Whether a file in a folder is one of rows, by its name."""
    lower = name.lower()
    for suffix in _COMPRESSIONS:
        lower = lower.removesuffix(suffix)
    return lower.endswith(SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a part of a path begins as hidden files do. A path relative to a folder is meant."""
    return any(part.startswith(_HIDDEN) for part in name.split("/"))


def row_files(names: Iterable[str], *, of_any_name: bool = False) -> list[str]:
    """The files of a folder that hold rows, in order, by their names relative to it."""
    return sorted(name for name in names if not is_hidden(name) and (of_any_name or holds_rows(name)))


def find_files(root: str, name: str, *, of_any_name: bool = False) -> list[str]:
    """The names below `root` of the files that `name` means, in order: a folder is all its files of rows, or those
    `of_any_name`, and in a pattern every file that matches. A name that exists is never a pattern, and one that does
    not exist and is none is returned as it is.

    `root` ends with a slash, or is empty where `name` begins with one.
    """
    path = root + name
    if os.path.isdir(path):
        folder = name if not name or name.endswith("/") else f"{name}/"
        return [folder + found for found in row_files(_files_below(path), of_any_name=of_any_name)]
    if os.path.exists(path) or not is_pattern(name):
        return [name]
    return sorted(
        found for found in glob.glob(name, root_dir=root or None, recursive=True) if os.path.isfile(root + found)
    )


def _files_below(folder: str) -> Iterator[str]:
    """The files of a folder and its folders, each by its path from there."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(_HIDDEN)]
        for name in names:
            if os.path.isfile(path := os.path.join(parent, name)):
                yield os.path.relpath(path, folder)


def no_files_problem(name: str) -> str:
    """The end of a sentence about a name without files."""
    if is_pattern(name):
        return "no file matches; check the pattern"
    return f"the folder holds no file of rows; their names end with {', '.join(SUFFIXES)}, also compressed"
