"""Whether the rows of a finished generate stage have changed, because a later attempt got answers that had failed."""

from __future__ import annotations

import hashlib

import orjson

from distillery_api.paths import StageFolder
from distillery_trainer.data.rows import BESIDE_ANSWER
from distillery_trainer.runtime.checked_lines import checked_line, read_line
from distillery_trainer.runtime.files import to_line, write_atomically

_LENGTH = 8


def rows_revision(folder: StageFolder) -> str | None:
    """A short digest of the rows, where they are not those that the stage first finished with; else None.

    The first time it notes the digest. Raises UserError if the volume is full.
    """
    digest = _digest(folder)
    first = _first_digest(folder)
    if first is None:
        write_atomically(folder.first_rows_digest, checked_line({"sha256": digest}))
    return None if first in (None, digest) else digest[:_LENGTH]


def _first_digest(folder: StageFolder) -> str | None:
    """The digest that was noted; None where there is none yet, or a damaged one."""
    try:
        line = read_line(folder.first_rows_digest.read_bytes())
    except OSError:
        return None
    return str(line["sha256"]) if line and "sha256" in line else None


def _digest(folder: StageFolder) -> str:
    digest = hashlib.sha256()
    for path in (folder.train, folder.validation, folder.test):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            for line in stream:
                digest.update(_answered(line))
    return digest.hexdigest()


def _answered(line: bytes) -> bytes:
    """The line without what an earlier release did not write beside the answer."""
    if not any(b'"%s":' % name.encode() in line for name in BESIDE_ANSWER):
        return line
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    return to_line({name: value for name, value in row.items() if name not in BESIDE_ANSWER})
