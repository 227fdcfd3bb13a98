"""Locks of folders in the workspace: several Distillations may share it, and run side by side in different folders.

A stage holds its own folder alone, and the folders that it reads together with other readers. The locks are flock's,
which the system releases however a process ends, on NFS 4 and CephFS across nodes too. On a file system without locks,
nothing is locked.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import make_folder
from distillery_api.runtime.file_locks import LockHeld, open_lock_file, take_lock
from distillery_trainer.runtime.errors import TryLater, storage_errors_explained


@contextlib.contextmanager
def locked_folders(config: RunConfig) -> Iterator[None]:
    """Hold the folders of a stage. Raises TryLater where another stage writes to one of them, or reads the stage's own,
    and UserError where the workspace cannot be written."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_locked(config, config.folder, shared=False))
        for folder in config.inputs.values():
            stack.enter_context(_locked(config, folder, shared=True))
        yield


def locked_folder(config: RunConfig, folder: str) -> contextlib.AbstractContextManager[None]:
    """Hold one more folder of the workspace. Raises TryLater where another stage holds it."""
    return _locked(config, folder, shared=False)


@contextlib.contextmanager
def locked_file(path: Path, holder: str, in_use: Callable[[str], TryLater], *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file as `holder`, in a folder that is made where there is none.

    Raises what `in_use` makes of the other's name where another process holds it, and UserError where the workspace
    cannot be written.
    """
    with storage_errors_explained(str(path.parent)):
        make_folder(path.parent, private=True)
        descriptor = open_lock_file(path)
    try:
        _lock(descriptor, f"{holder} on {socket.gethostname()}", in_use, shared=shared)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, holder: str, in_use: Callable[[str], TryLater], *, shared: bool) -> None:
    try:
        take_lock(descriptor, holder, shared=shared)
    except LockHeld as held:
        raise in_use(held.holder) from held
    except OSError:
        return  # a file system without locks is used without them


def _locked(config: RunConfig, folder: str, *, shared: bool) -> contextlib.AbstractContextManager[None]:
    holder = f"{config.folder} of {config.name}"
    return locked_file(config.paths.stage_lock(folder), holder, partial(_in_use, folder), shared=shared)


def _in_use(folder: str, holder: str) -> TryLater:
    message = (
        f"Another stage is using the folder {folder} of the workspace ({holder or 'unknown'}). This stage starts once"
        " that has ended, and takes over what it has finished."
    )
    return TryLater(message, reason=Reason.WORKSPACE_IN_USE)
