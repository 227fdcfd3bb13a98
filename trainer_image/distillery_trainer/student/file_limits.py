"""Bounds of what is read of a model folder, checked before any library reads it: a folder may come from anybody."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distillery_trainer.student.invalid_model import InvalidModel

_MEBIBYTE = 1024**2
_DESCRIPTION_LIMIT = 4 * _MEBIBYTE
_TOKENIZER_LIMIT = 48 * _MEBIBYTE
"""The largest vocabularies have 35 MiB."""
_TOKENIZER_FILES = frozenset(
    {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "tekken.json"}
)
_READ_SUFFIXES = frozenset({".json", ".jinja", ".model", ".txt"})
_INDEX_SUFFIX = ".index.json"
_WEIGHTS_SUFFIX = ".safetensors"
_HEADER_LIMIT = 16 * _MEBIBYTE
"""Of a file with 50,000 tensors."""
_MOST_LAYERS = 2_000
_LARGEST_NUMBER = 2**31


def check_file_sizes(path: Path, uri: str) -> None:
    """Check that each file that is read is a plain file of a plausible size. Raises InvalidModel."""
    for file in sorted(path.iterdir()):
        if file.exists() and not file.is_file() and not file.is_dir():
            raise InvalidModel(uri, f"{file.name} is a pipe or a device; put the file itself there.")
        if file.is_file():
            _check_size(file, uri)


def _check_size(file: Path, uri: str) -> None:
    if file.suffix == _WEIGHTS_SUFFIX:
        _check_header(file, uri)
        return
    limit = _limit(file.name)
    if file.suffix in _READ_SUFFIXES and file.stat().st_size > limit:
        raise InvalidModel(
            uri, f"{file.name} has more than the {limit // _MEBIBYTE} MiB of any known model; copy the file again."
        )


def _limit(name: str) -> int:
    return _TOKENIZER_LIMIT if name in _TOKENIZER_FILES or name.endswith(_INDEX_SUFFIX) else _DESCRIPTION_LIMIT


def _check_header(file: Path, uri: str) -> None:
    """A file of weights begins with the length of its description, in 8 bytes."""
    with file.open("rb") as stream:
        beginning = stream.read(8)
    if len(beginning) == 8 and struct.unpack("<Q", beginning)[0] > _HEADER_LIMIT:
        raise InvalidModel(uri, f"{file.name} is damaged (its header is too long); copy the file again.")


def check_numbers(stated: Mapping[str, Any], uri: str) -> None:
    """Check the numbers of a configuration, for whose sake a library would allocate memory. Raises InvalidModel."""
    for name, value in _numbers(stated):
        limit = _MOST_LAYERS if "layer" in name else _LARGEST_NUMBER
        if value > limit:
            raise InvalidModel(uri, f"config.json states {name}: {value:.4g}, more than any known model has.")


def _numbers(stated: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """The numbers of a configuration and of the configurations in it, by name."""
    for name, value in stated.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value
