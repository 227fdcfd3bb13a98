"""Checkpoints of an unfinished training. One is complete once it is sealed: its seal, written last, lists all its files
with their sizes and checksums."""

from __future__ import annotations

import shutil
import sys
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transformers import TrainerState

from distillery_api.runtime.atomic_files import sync_files
from distillery_trainer.runtime.checked_lines import checked_line, read_line
from distillery_trainer.runtime.files import write_atomically

_SEAL = "complete.json"
_STATE = "trainer_state.json"
_CHUNK = 1024 * 1024
_NAME = "checkpoint-"


def checkpoint_path(folder: Path, step: int) -> Path:
    """The checkpoint of a training in `folder` after so many steps."""
    return folder / f"{_NAME}{step}"


def seal(checkpoint: Path) -> None:
    """Sync the files of a checkpoint to the disk and declare it complete. Raises OSError, or UserError if the volume is
    full."""
    sync_files(checkpoint)
    write_atomically(checkpoint / _SEAL, checked_line({"files": _described(checkpoint, _files(checkpoint))}))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint whose best one is complete as well; newer ones are named and removed."""
    for checkpoint in _newest_first(folder):
        if _is_usable(checkpoint):
            return checkpoint
        sys.stderr.write(f"The checkpoint {checkpoint} is incomplete or damaged, and is not used.\n")
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _newest_first(folder: Path) -> list[Path]:
    found = {path: path.name.removeprefix(_NAME) for path in folder.glob(f"{_NAME}*")}
    return sorted((path for path, step in found.items() if step.isdecimal()), key=lambda path: -int(found[path]))


def read_state(checkpoint: Path) -> TrainerState:
    """How far the training was, and what it measured. Raises OSError, ValueError or TypeError for one of another
    release."""
    return TrainerState.load_from_json(str(checkpoint / _STATE))


def _is_usable(checkpoint: Path) -> bool:
    if not _is_complete(checkpoint):
        return False
    try:
        state = read_state(checkpoint)
    except (OSError, ValueError, TypeError):  # of another release
        return False
    best = state.best_global_step
    # The training ends with the best checkpoint, which is an earlier one where the loss rose again.
    return not best or best == state.global_step or _is_complete(checkpoint_path(checkpoint.parent, best))


def _is_complete(checkpoint: Path) -> bool:
    try:
        line = read_line((checkpoint / _SEAL).read_bytes())
        return line is not None and line.get("files") == _described(checkpoint, _files(checkpoint))
    except OSError:
        return False


def _files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != _SEAL)


def _described(checkpoint: Path, files: Iterable[Path]) -> dict[str, list[int]]:
    """The size and the CRC-32 of each file, by its path in the checkpoint."""
    with ThreadPoolExecutor() as threads:
        paths = list(files)
        checksums = threads.map(_checksum, paths)
        return {
            path.relative_to(checkpoint).as_posix(): [path.stat().st_size, checksum]
            for path, checksum in zip(paths, checksums, strict=True)
        }


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
