"""What tells a model folder from any other, wherever it was copied."""

from __future__ import annotations

import hashlib
from pathlib import Path


def model_digest(folder: Path) -> str:
    """`sha256:` and the SHA-256 over a line `DIGEST  NAME` for each file of the folder, sorted by name: what
    `sha256sum * | sha256sum` prints there."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    lines = "".join(f"{_file_digest(path)}  {path.name}\n" for path in files)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
