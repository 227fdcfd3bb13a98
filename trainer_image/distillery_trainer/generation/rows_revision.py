"""Whether the rows of a finished generate stage have changed, because a later attempt got answers that had failed."""

from __future__ import annotations

import hashlib

from distillery_api.paths import StageFolder
from distillery_trainer.runtime.files import write_atomically

_LENGTH = 8
_CHUNK = 1024 * 1024


def rows_revision(folder: StageFolder) -> str | None:
    """A short digest of the rows, where they are not those that the stage first finished with; else None.

    The first time it notes the digest. Raises UserError if the volume is full.
    """
    digest = _digest(folder)
    try:
        first = folder.first_rows_digest.read_text(errors="replace").strip()
    except OSError:
        first = ""
    if len(first) != len(digest):  # none yet, or damaged
        write_atomically(folder.first_rows_digest, digest.encode())
        return None
    return None if digest == first else digest[:_LENGTH]


def _digest(folder: StageFolder) -> str:
    digest = hashlib.sha256()
    for path in (folder.train, folder.validation, folder.test):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
