"""Deletes the folders of runs that nobody needs any more: of stages, and of base models that are served with adapters.

The operator names the folders, all of them made by this Distillation. Several Distillations may share a workspace, and
with equal inputs a folder: each notes that it uses it, and only the last one deletes it. A folder without such notes,
of an earlier release, is kept. Deleting goes on where a killed stage left off.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import make_folder
from distillery_api.runtime.file_locks import open_lock_file, try_lock


def note_use(config: RunConfig) -> None:
    """Note that this Distillation uses the stage's folder, and those that it reads. Best effort: a full volume is for
    the stage to report."""
    for folder in _used(config):
        users = config.paths.users(folder)
        with contextlib.suppress(OSError):
            make_folder(users, private=True)
            (users / config.name).touch()


def prune(config: RunConfig) -> tuple[str, ...]:
    """Delete the folders that the configuration names, and return those that were deleted. What another stage uses at
    this moment, or cannot be deleted, is left for the next time."""
    in_use = set(_used(config))
    folders = (folder for folder in config.prune if folder not in in_use)
    return tuple(folder for folder in folders if _pruned(config, folder))


def _used(config: RunConfig) -> tuple[str, ...]:
    """The folders of this stage: its own, those that it reads, and that of the base model which it trains on."""
    base = (config.base_folder,) if config.base_folder else ()
    return (config.folder, *config.inputs.values(), *base)


def _pruned(config: RunConfig, folder: str) -> bool:
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        if not (config.paths.users(folder) / config.name).is_file():
            return False
        descriptor = open_lock_file(config.paths.stage_lock(folder))
        stack.callback(os.close, descriptor)
        return try_lock(descriptor) and _given_up(config, folder)
    return False


def _given_up(config: RunConfig, folder: str) -> bool:
    """Delete the folder, or only this Distillation's note where others use it."""
    users, path = config.paths.users(folder), config.paths.stage(folder).path
    shared = len(list(users.iterdir())) > 1
    if not shared and path.exists():
        # First the result: what is half deleted must not count as finished.
        config.paths.stage(folder).result.unlink(missing_ok=True)
        shutil.rmtree(path)
    if not shared and config.paths.served_adapter(folder).exists():
        shutil.rmtree(config.paths.served_adapter(folder))
    # Last the note: without it, nobody would go on.
    (users / config.name).unlink()
    return not shared
