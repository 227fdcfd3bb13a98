"""The folder of a run: belongs to one Distillation, and is locked by one run at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distillery_api.paths import CONFIG_FILE, Workspace
from distillery_api.runtime.atomic_files import make_folder
from distillery_api.runtime.file_locks import LockHeld, open_lock_file, take_lock


class WorkspaceError(Exception):
    """The folder cannot be used. The message says why and what to do."""


@contextmanager
def opened_workspace(root: Path, name: str) -> Iterator[tuple[Workspace, int]]:
    """The workspace of the Distillation `name`, created if it does not exist, and the open file that holds its lock.

    Raises WorkspaceError if the folder belongs to another run, is in use, or cannot be written.
    """
    try:
        make_folder(root, private=True)
        lock = open_lock_file(Workspace(root).run_lock)
    except FileExistsError:
        raise WorkspaceError(f"{root} is a file; choose a folder with --out DIR") from None
    except OSError as error:
        raise WorkspaceError(
            f"{root} cannot be written: {error.strerror}; choose another folder with --out DIR"
        ) from None
    try:
        _acquire(lock, root)
        workspace = Workspace(root.resolve())
        refuse_another_run(workspace, name, root)
        yield workspace, lock
    finally:
        os.close(lock)


def refuse_another_run(workspace: Workspace, name: str, shown: Path) -> None:
    """Raises WorkspaceError if the folder's result.json is not that of a run of `name`."""
    owner = owner_of(workspace)
    if owner is None or owner == name:
        return
    if not owner:
        raise WorkspaceError(
            f"{shown / workspace.result.name} was not written by distillery; choose another folder with --out DIR"
        )
    raise WorkspaceError(
        f"{shown} is the workspace of {owner}, not of {name}; choose another folder with --out DIR, or delete {shown}"
        " if you no longer need it"
    )


def owner_of(workspace: Workspace) -> str | None:
    """Name of the Distillation that owns the workspace; None for a new one, empty if result.json is not that of a
    run."""
    try:
        content = json.loads(workspace.result.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return _name_in_stages(workspace)
    return _name_in(content) or _name_in_stages(workspace)


def _name_in_stages(workspace: Workspace) -> str:
    """The name in the configurations of the stages, where a power failure has damaged result.json; empty where there
    are none."""
    for path in sorted(workspace.root.glob(f"*-*/{CONFIG_FILE}")):
        with suppress(OSError, ValueError):
            if name := _name_in(json.loads(path.read_bytes())):
                return name
    return ""


def _name_in(content: Any) -> str:
    name = content.get("name") if isinstance(content, dict) else None
    return name if isinstance(name, str) else ""


def _acquire(lock: int, root: Path) -> None:
    try:
        take_lock(lock, str(os.getpid()))
    except LockHeld as held:
        who = f" (process {held.holder})" if held.holder else ""
        raise WorkspaceError(
            f"{root} is in use by another run{who} or its last stage; wait until it ends, or stop it"
        ) from None
