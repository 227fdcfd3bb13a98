"""The lock of a workspace: two stages at a time would pay for the same rows, and share no budget."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from distillery_api.paths import Workspace
from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import TryLater
from distillery_trainer.runtime.folder_locks import locked_file


def locked_workspace(workspace: Workspace, holder: str) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of the workspace's replies, which the system releases when the process ends in any way.

    Raises TryLater where another stage holds it. On a file system without locks, nothing is locked.
    """
    return locked_file(workspace.replies_lock, holder, partial(_already_locked, workspace.replies))


def _already_locked(folder: Path, holder: str) -> TryLater:
    message = (
        f"Another stage ({holder or 'unknown'}) is already sending requests for the workspace {folder.parent}. Wait"
        " until it has finished, or give this run its own workspace."
    )
    return TryLater(message, reason=Reason.WORKSPACE_IN_USE)
