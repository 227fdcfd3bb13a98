"""One stage at a time asks teachers for a workspace: two would pay for the same rows, and share no budget."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from distillery_api.paths import Workspace
from distillery_api.reasons import Reason
from distillery_api.runtime.file_locks import LockHeld, open_lock_file, take_lock
from distillery_trainer.runtime.errors import TryLater, storage_errors_explained


@contextlib.contextmanager
def only_stage(workspace: Workspace, name: str) -> Iterator[None]:
    """Hold the lock of a folder of replies, which the system lets go of when the process ends, however it ends.

    Raises TryLater where another stage holds it. A file system without locks is used without one.
    """
    folder = workspace.replies
    with storage_errors_explained(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_lock_file(workspace.replies_lock)
    try:
        _take(descriptor, folder, f"{name} on {socket.gethostname()}")
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path, holder: str) -> None:
    try:
        take_lock(descriptor, holder)
    except LockHeld as held:
        raise _taken(folder, held.holder) from held
    except OSError:
        return  # a file system without locks is used without one


def _taken(folder: Path, holder: str) -> TryLater:
    message = (
        f"Another stage ({holder or 'unknown'}) is asking the teacher for the workspace {folder.parent} already. Wait"
        " until it has ended, or give this run a workspace of its own."
    )
    return TryLater(message, reason=Reason.VOLUME_UNAVAILABLE)
