"""Locks of stage folders: several Distillations may share a workspace, and run side by side in different folders.

A stage holds its own folder alone, and the folders that it reads together with other readers. The locks are flock's,
which the system releases however a process ends, on NFS 4 and CephFS across nodes too.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.file_locks import LockHeld, open_lock_file, take_lock
from distillery_trainer.runtime.errors import TryLater, storage_errors_explained


@contextlib.contextmanager
def locked_folders(config: RunConfig) -> Iterator[None]:
    """Hold the folders of a stage. Raises TryLater where another stage writes to one of them, or reads the stage's own,
    and UserError where the workspace cannot be written. On a file system without locks, nothing is locked."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_locked(config, config.folder, shared=False))
        for folder in config.inputs.values():
            stack.enter_context(_locked(config, folder, shared=True))
        yield


@contextlib.contextmanager
def _locked(config: RunConfig, folder: str, *, shared: bool) -> Iterator[None]:
    path = config.paths.stage_lock(folder)
    with storage_errors_explained(str(path.parent)):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_lock_file(path)
    try:
        _lock(descriptor, config, folder, shared=shared)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, config: RunConfig, folder: str, *, shared: bool) -> None:
    try:
        take_lock(descriptor, f"{config.folder} of {config.name} on {socket.gethostname()}", shared=shared)
    except LockHeld as held:
        raise _in_use(folder, held.holder) from held
    except OSError:
        return  # a file system without locks is used without them


def _in_use(folder: str, holder: str) -> TryLater:
    message = (
        f"Another stage is using the folder {folder} of the workspace ({holder or 'unknown'}). This stage starts once"
        " that has ended, and takes over what it has finished."
    )
    return TryLater(message, reason=Reason.WORKSPACE_IN_USE)
