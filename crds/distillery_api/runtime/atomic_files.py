"""Files written atomically: to a temporary file in the same folder, synced to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from distillery_api.runtime.file_locks import try_lock

TEMPORARY_SUFFIX = ".draft"
"""The end of a temporary file's name, `.NAME.RANDOM.draft`."""

_BUFFER = 256 * 1024


class AtomicFile:
    """A file that appears under its name only once it is published.

    As a context manager it is published at the end, and discarded after an exception. Its folder is made where there is
    none, for its owner alone where `mode` lets nobody else read the file. Every method may raise OSError.
    """

    def __init__(self, path: Path, mode: int = 0o644) -> None:
        self.path = path
        # Process IDs are no names: in containers, every process is number 1.
        self._draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
        make_folder(path.parent, private=not mode & 0o077)
        descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        self._stream = os.fdopen(descriptor, "wb", buffering=_BUFFER)
        _lock(descriptor)

    def write(self, content: bytes) -> None:
        """Add to the file."""
        self._stream.write(content)

    def publish(self) -> None:
        """Give the file its name, with what was written so far."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._draft.replace(self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what was written and not published."""
        with contextlib.suppress(OSError):  # a full volume refuses the last flush as well
            self._stream.close()
        self._draft.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self.publish()
        finally:
            self.discard()


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new one, also after a crash. Raises OSError."""
    with AtomicFile(path, mode) as file:
        file.write(content)


def make_folder(path: Path, *, private: bool) -> None:
    """Make a folder where there is none, and those above it; a private one for its owner alone. Raises OSError."""
    mode = 0o700 if private else 0o777
    try:
        path.mkdir(mode)
    except FileNotFoundError:
        make_folder(path.parent, private=private)
        path.mkdir(mode, exist_ok=True)
    except FileExistsError:
        if not path.is_dir():
            raise


def sync_folder(path: Path) -> None:
    """Sync the names in a folder to the disk, where its file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_files(folder: Path) -> None:
    """Sync all files below a folder to the disk. Raises OSError."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def remove_abandoned_drafts(folder: Path) -> None:
    """Remove what killed processes left of their AtomicFiles in a folder. A living writer holds a lock on its draft."""
    for draft in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError), draft.open("rb") as stream:
            if _lock(stream.fileno()):
                draft.unlink()


def _lock(descriptor: int) -> bool:
    """Whether the lock could be taken; on a file system without locks it never is."""
    try:
        return try_lock(descriptor)
    except OSError:
        return False
