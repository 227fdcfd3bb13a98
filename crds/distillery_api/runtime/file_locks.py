"""Advisory locks on files (flock), which the system releases when the last process that has the file open ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

_HELD = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}
_NAME_BYTES = 1024


class LockHeld(Exception):
    """Another process holds the lock."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder
        """What the other process calls itself; empty where it does not say."""


def open_lock_file(path: Path) -> int:
    """The descriptor of a lock file, which is made where there is none. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take_lock(descriptor: int, holder: str, *, shared: bool = False) -> None:
    """Lock an open lock file and note `holder` in it, for people; a shared lock keeps out only those that are not.
    Child processes that inherit the descriptor hold the lock as well.

    Raises LockHeld, or OSError where the file system has no locks.
    """
    if not try_lock(descriptor, shared=shared):
        raise LockHeld(os.pread(descriptor, _NAME_BYTES, 0).decode(errors="replace").strip())
    with contextlib.suppress(OSError):  # a full volume is no reason not to hold the lock
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder}\n".encode(), 0)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file; False where another process holds the lock. Raises OSError where the file system has none."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True
