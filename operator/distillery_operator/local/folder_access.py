"""Reads a run's folder, which may come from somebody else: nothing in it leads elsewhere, and no file is read without a
bound."""

from __future__ import annotations

from pathlib import Path


class OutsideFolder(Exception):
    """A path leads out of its folder. The message says which."""


def path_inside(folder: Path, relative: str) -> Path:
    """The absolute path of what a run's result names, with links followed. Raises OutsideFolder."""
    root = folder.resolve()
    path = _resolved(root, relative)
    if path is None or not path.is_relative_to(root):
        raise OutsideFolder(f"{folder}: a path in its result.json leads out of the folder; do not use a run like this")
    return path


def _resolved(root: Path, relative: str) -> Path | None:
    try:
        path = (root / relative).resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a loop of links, a null character
        return None
    return path


def refuse_links_out(folder: Path, model: Path) -> None:
    """Raises OutsideFolder if a file of the model folder is a link that leads out of the run's folder."""
    for path in model.iterdir():
        path_inside(folder, str(path.absolute()))


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a regular file. Raises OSError if it has more than `limit` bytes, or is a pipe or a device."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(f"{path} has more than {limit:,} bytes")
    return content
