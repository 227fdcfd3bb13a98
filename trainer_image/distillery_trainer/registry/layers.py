"""Files as layers of an image: uncompressed tar archives that are the same, byte for byte, wherever and whenever they
are made from the same files.

Weights do not compress, and an uncompressed layer has one digest instead of two.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

BLOCK = 512
"""Bytes. A tar archive consists of blocks, and ends with two empty ones."""
CHUNK_BYTES = 4 * 1024 * 1024
LARGE_FILE_BYTES = 32 * 1024 * 1024
"""A file of at least this size is a layer of its own, so that a push that was interrupted repeats little."""
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755


class FileChanged(OSError):
    """A file is not as long as it was when its layer was planned."""


@dataclass(frozen=True)
class LayerFile:
    """A file and its place in the image."""

    path: PurePosixPath
    """Its path in the image, relative to the root."""
    source: Path
    size: int


@dataclass(frozen=True)
class Layer:
    """Some files as one archive, which can be read any number of times."""

    files: tuple[LayerFile, ...]

    @property
    def size(self) -> int:
        """Length of the archive, in bytes."""
        headers = sum(len(_folder_header(folder)) for folder in _folders(self.files))
        files = sum(len(_file_header(each)) + _padded(each.size) for each in self.files)
        return headers + files + 2 * BLOCK

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the archive, such as sha256:9f86…; reads all files. Raises OSError."""
        sha256 = hashlib.sha256()
        for chunk in self:
            sha256.update(chunk)
        return f"sha256:{sha256.hexdigest()}"

    def __iter__(self) -> Iterator[bytes]:
        """The archive in chunks of at most 4 MiB. Raises OSError."""
        for folder in _folders(self.files):
            yield _folder_header(folder)
        for each in self.files:
            yield _file_header(each)
            yield from _content(each)
        yield bytes(2 * BLOCK)


def layers_of(files: Iterable[LayerFile]) -> tuple[Layer, ...]:
    """The files as layers: the small ones in one, then each large one in its own."""
    ordered = sorted(files, key=lambda each: each.path.as_posix())
    small = tuple(each for each in ordered if each.size < LARGE_FILE_BYTES)
    large = (Layer((each,)) for each in ordered if each.size >= LARGE_FILE_BYTES)
    return (*((Layer(small),) if small else ()), *large)


def files_below(folder: Path, root: PurePosixPath) -> Iterator[LayerFile]:
    """The regular files in a folder of the workspace, at `root` in the image; hidden ones are left out."""
    for source in folder.rglob("*"):
        relative = source.relative_to(folder)
        if source.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield LayerFile(root / relative.as_posix(), source, source.stat().st_size)


def _folders(files: Iterable[LayerFile]) -> list[PurePosixPath]:
    """The folders above the files, outer ones first."""
    above = {parent for each in files for parent in each.path.parents if parent.name}
    return sorted(above, key=lambda folder: folder.as_posix())


def _file_header(file: LayerFile) -> bytes:
    header = tarfile.TarInfo(file.path.as_posix())
    header.size, header.mode = file.size, _FILE_MODE
    return _bytes(header)


def _folder_header(folder: PurePosixPath) -> bytes:
    header = tarfile.TarInfo(folder.as_posix())
    header.type, header.mode = tarfile.DIRTYPE, _FOLDER_MODE
    return _bytes(header)


def _bytes(header: tarfile.TarInfo) -> bytes:
    """A header whose owner is root and whose time is 0, as `TarInfo` has them by default."""
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(file: LayerFile) -> Iterator[bytes]:
    left = file.size
    with file.source.open("rb") as stream:
        while left:
            chunk = stream.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise FileChanged(f"{file.source} became shorter while it was read")
            left -= len(chunk)
            yield chunk
    if file.size % BLOCK:
        yield bytes(BLOCK - file.size % BLOCK)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
