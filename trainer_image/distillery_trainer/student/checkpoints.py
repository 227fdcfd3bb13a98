"""Checkpoints of an unfinished training. One is complete once it is sealed: its seal, written last, lists all its files
with their sizes and checksums."""

from __future__ import annotations

import shutil
import sys
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from transformers import TrainerState

from distillery_api.runtime.atomic_files import sync_files, sync_folder
from distillery_trainer.runtime.checked_lines import checked_line, read_line
from distillery_trainer.runtime.files import write_atomically

_SEAL = "complete.json"
_STATE = "trainer_state.json"
_CHUNK = 1024 * 1024
_NAME = "checkpoint-"
_UNEVALUATED = "unevaluated-"
_DIGEST = 64
"""Characters of a digest among the settings."""


@dataclass(frozen=True)
class CheckpointNote:
    """What is noted of the training beside its state."""

    settings: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """What the training is determined by, each by the name that users know it by; none in checkpoints of earlier
    releases."""
    seconds: float = 0.0
    """How long the training had taken."""

    def after(self, seconds: float) -> CheckpointNote:
        """The same after another time."""
        return CheckpointNote(self.settings, round(seconds, 3))


def checkpoint_path(folder: Path, step: int) -> Path:
    """The checkpoint of a training in `folder` after so many steps."""
    return folder / f"{_NAME}{step}"


def seal(checkpoint: Path, note: CheckpointNote | None = None) -> None:
    """Sync the files of a checkpoint to the disk and declare it complete. Raises OSError, or UserError if the volume is
    full."""
    sync_files(checkpoint)
    noted = note or CheckpointNote()
    described = _described(checkpoint, _files(checkpoint))
    content = {"settings": dict(noted.settings), "seconds": noted.seconds, "files": described}
    write_atomically(checkpoint / _SEAL, checked_line(content))
    sync_folder(checkpoint.parent)


def read_note(checkpoint: Path) -> CheckpointNote:
    """What is noted in a complete checkpoint."""
    line = read_line((checkpoint / _SEAL).read_bytes()) or {}
    return CheckpointNote(line.get("settings", {}), line.get("seconds", 0.0))


def last_checkpoint(folder: Path, note: CheckpointNote | None = None) -> Path | None:
    """The newest complete checkpoint whose best one is complete as well, and that is of a training with the settings of
    `note`; newer ones are named and removed."""
    for checkpoint in _newest_first(folder):
        if not _is_usable(checkpoint):
            problem = "is incomplete or damaged, and is not used"
        elif note is not None and (others := _other_settings(read_note(checkpoint), note)):
            problem = f"is of a training with {others}, and is not used"
        else:
            return checkpoint
        sys.stderr.write(f"The checkpoint {checkpoint} {problem}.\n")
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _other_settings(before: CheckpointNote, now: CheckpointNote) -> str:
    """The settings in which a checkpoint differs, for people; empty if in none, or if it is of a release that noted
    none."""
    if not before.settings:
        return ""
    names = [name for name in {**now.settings, **before.settings} if _noted(before, name) != _noted(now, name)]
    return " and ".join(_difference(name, before.settings.get(name), now.settings.get(name)) for name in names)


def _noted(note: CheckpointNote, name: str) -> object:
    return note.settings.get(name)


def _difference(name: str, before: object, now: object) -> str:
    """Digests say nothing to people."""
    return f"another {name}" if isinstance(now, str) and len(now) == _DIGEST else f"{name} {before} instead of {now}"


def mark_unevaluated(checkpoint: Path) -> Path:
    """Give a checkpoint that is yet to be evaluated another name, so that the evaluated one does not replace it before
    that is complete."""
    aside = checkpoint.with_name(f"{_UNEVALUATED}{checkpoint.name.rpartition('-')[2]}")
    if aside != checkpoint:
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
        sync_folder(aside.parent)
    return aside


def remove_older(folder: Path, newest: Path | None) -> None:
    """Remove all checkpoints but the newest complete one and its best one, to make room for the next."""
    kept = {newest}
    if newest is not None and (best := read_state(newest).best_global_step):
        kept.add(checkpoint_path(folder, best))
    for checkpoint in _newest_first(folder):
        if checkpoint not in kept:
            shutil.rmtree(checkpoint, ignore_errors=True)


def newest_complete(folder: Path) -> Path | None:
    """The newest complete checkpoint; nothing is removed."""
    return next((checkpoint for checkpoint in _newest_first(folder) if _is_usable(checkpoint)), None)


def remove_incomplete(folder: Path) -> None:
    """Remove what was written of checkpoints that are not complete."""
    for checkpoint in _newest_first(folder):
        if not _is_complete(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The number of steps after which a checkpoint was saved."""
    return int(checkpoint.name.rpartition("-")[2])


def size(checkpoint: Path) -> int:
    """Bytes of all files of a checkpoint; 0 where there is none."""
    return sum(path.stat().st_size for path in _files(checkpoint))


def _newest_first(folder: Path) -> list[Path]:
    """Of two after the same step, the evaluated one is newer."""
    found = [(path, name, step) for path in folder.glob("*-*") for name, _, step in [path.name.rpartition("-")]]
    known = [(path, f"{name}-", int(step)) for path, name, step in found if step.isdecimal()]
    ours = [each for each in known if each[1] in (_NAME, _UNEVALUATED)]
    return [path for path, *_ in sorted(ours, key=lambda each: (each[2], each[1] == _NAME), reverse=True)]


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
