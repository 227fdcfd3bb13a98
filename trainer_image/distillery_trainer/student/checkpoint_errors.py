"""What a training says where a checkpoint cannot be written: how much it takes, how much is free, and what is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student.checkpoints import newest_complete, remove_incomplete, size
from distillery_trainer.student.saving import weight_storage_errors_explained


@contextmanager
def checkpoint_errors_explained(folder: Path) -> Iterator[None]:
    """Like `weight_storage_errors_explained`; a checkpoint that was not finished is removed, so that the volume is not
    left full, and the last complete one is named."""
    try:
        with weight_storage_errors_explained(str(folder)):
            yield
    except UserError as error:
        if error.reason is not Reason.STORAGE_FULL:
            raise
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        kept = newest_complete(folder)
        remove_incomplete(folder)
        raise UserError(f"{error.message} {_state(kept, free)}", reason=Reason.STORAGE_FULL) from error


def _state(kept: Path | None, free: int) -> str:
    if kept is None:
        return f"{_size(free)} were free, and there is no complete checkpoint yet: the training starts anew."
    return (
        f"A checkpoint takes {_size(size(kept))}, and {_size(free)} were free. The last complete one"
        f" ({kept.name}) is kept, and the training goes on from it."
    )


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
