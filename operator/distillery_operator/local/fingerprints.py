"""Digests of files and model folders: the content is part of a stage's identity, and a path does not determine it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

SAMPLES = 64
SAMPLE_BYTES = 64 * 1024


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's content, or of a folder's files, in hexadecimal.

    Large files of a folder (weights) are sampled: size and 64 blocks of 64 KiB, evenly spaced. A model that was trained
    further differs in all of its blocks, and reading tens of gigabytes at each start would take minutes.
    Raises OSError.
    """
    return _file_digest(path) if path.is_file() else _folder_digest(path)


def files_fingerprint(files: Mapping[str, Path]) -> str:
    """SHA-256 of all of the files of a source, by their names, in hexadecimal; of one file that of its content. Raises
    OSError."""
    if len(files) == 1:
        return _file_digest(next(iter(files.values())))
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\n{_file_digest(path)}\n".encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(_visible_files(folder)):
        digest.update(f"{path.relative_to(folder).as_posix()}\n{path.stat().st_size}\n".encode())
        for block in _samples(path):
            digest.update(block)
    return digest.hexdigest()


def _visible_files(folder: Path) -> Iterator[Path]:
    """Files below `folder`, without hidden ones such as .cache and .git."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _samples(path: Path) -> Iterator[bytes]:
    """All of a small file; evenly spaced blocks of a large one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= SAMPLES * SAMPLE_BYTES:
            yield file.read()
            return
        for index in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
            yield file.read(SAMPLE_BYTES)
