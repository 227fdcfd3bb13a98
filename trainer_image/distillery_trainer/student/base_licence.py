"""The licence of the base model, as far as its own folder states it: it goes on with the student."""

from __future__ import annotations

import shutil
from pathlib import Path

from distillery_trainer.student.model_digest import MODEL_CARD
from distillery_trainer.text.markdown import read_front_matter

LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_LICENCE_KEYS = ("license", "license_name", "license_link")
_LARGEST = 1024 * 1024
"""Bytes. Larger files are no texts of this kind."""


def licence_fields(base: Path) -> dict[str, str]:
    """What the front matter of the base model's card says of its licence; empty where there is no such card."""
    metadata = read_front_matter(_text(base / MODEL_CARD))
    return {key: value for key in _LICENCE_KEYS if isinstance(value := metadata.get(key), str) and value.isprintable()}


def copy_licence_files(base: Path, folder: Path, *, with_card: bool = False) -> None:
    """Copy the texts that most licences want to be passed on with the weights, and where the folder is to hold the base
    model itself, its card. Raises OSError."""
    for pattern in (*LICENCE_FILES, *([MODEL_CARD] if with_card else [])):
        for path in base.glob(pattern):
            if path.is_file() and path.stat().st_size <= _LARGEST and not (folder / path.name).exists():
                shutil.copyfile(path, folder / path.name)
                (folder / path.name).chmod(0o644)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", errors="replace")
    except OSError:
        return ""
