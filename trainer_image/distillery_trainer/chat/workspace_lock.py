"""The lock of a workspace: two stages at a time would pay for the same rows, and share no budget."""

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
def locked_workspace(workspace: Workspace, holder: str) -> Iterator[None]:
    """Hold the lock of the workspace's replies, which the system releases when the process ends in any way.

    Raises TryLater where another stage holds it. On a file system without locks, nothing is locked.
    """
    folder = workspace.replies
    with storage_errors_explained(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_lock_file(workspace.replies_lock)
    try:
        _lock(descriptor, folder, f"{holder} on {socket.gethostname()}")
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, holder: str) -> None:
    try:
        take_lock(descriptor, holder)
    except LockHeld as held:
        raise _already_locked(folder, held.holder) from held
    except OSError:
        return  # a file system without locks is used without one


def _already_locked(folder: Path, holder: str) -> TryLater:
    message = (
        f"Another stage ({holder or 'unknown'}) is already sending requests for the workspace {folder.parent}. Wait"
        " until it has finished, or give this run its own workspace."
    )
    return TryLater(message, reason=Reason.WORKSPACE_IN_USE)
