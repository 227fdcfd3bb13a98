"""What tells a student's model folder from any other, wherever it was copied: the sums of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from distillery_trainer.runtime.files import write_atomically

MODEL_CARD = "README.md"
SUMS = "SHA256SUMS"
_NOT_THE_MODEL = frozenset({MODEL_CARD, SUMS})
"""What describes the model, and may change while the model stays the same."""


def model_digest(folder: Path) -> str:
    """`sha256:` and the SHA-256 over a line `DIGEST  NAME` for each of the model's files, sorted by name: what
    `sha256sum SHA256SUMS` prints there."""
    return f"sha256:{hashlib.sha256(_sums(folder)).hexdigest()}"


def write_sums(folder: Path) -> str:
    """Write `SHA256SUMS`, by which `sha256sum -c SHA256SUMS` checks the folder. Returns the model's digest. Raises
    UserError if the volume is full."""
    sums = _sums(folder)
    write_atomically(folder / SUMS, sums, mode=0o644)
    return f"sha256:{hashlib.sha256(sums).hexdigest()}"


def _sums(folder: Path) -> bytes:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in _NOT_THE_MODEL)
    return "".join(f"{_file_digest(path)}  {path.name}\n" for path in files).encode()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
