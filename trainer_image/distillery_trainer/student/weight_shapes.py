"""Whether the weights of a folder can be those of its configuration, before memory is allocated for either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from distillery_trainer.student.device import free_host_memory
from distillery_trainer.student.folder_files import WEIGHTS
from distillery_trainer.student.invalid_model import InvalidModel

_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "head_dim", "num_attention_heads", "num_key_value_heads")
_SLACK = 4
"""Quantised and joined weights are narrower and wider than the sizes that the configuration states."""
_MEMORY_SLACK = 2
"""Weights that are used as they lie in the file take no memory of their own."""


def check_shapes(path: Path, uri: str, config: Any) -> None:
    """Check that the weights are of the stated size, and fit into memory. Raises InvalidModel."""
    shapes = list(_shapes(path, uri))
    stated = config.get_text_config()
    layers = getattr(stated, "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > len(shapes):
        raise _other_weights(uri, f"{layers:,} layers", f"{len(shapes):,} tensors")
    largest = max((size for shape in shapes for size in shape), default=0)
    for name in _SIZES:
        size = getattr(stated, name, None)
        if isinstance(size, int) and size > _SLACK * largest:
            raise _other_weights(uri, f"{name}: {size:,}", f"no more than {largest:,} numbers in a row")
    _check_memory(path, uri)


def _shapes(path: Path, uri: str) -> Iterator[list[int]]:
    for file in sorted(path.glob(WEIGHTS)):
        try:
            with safe_open(file, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    yield tensors.get_slice(name).get_shape()
        except (SafetensorError, OSError) as error:
            raise InvalidModel(uri, f"{file.name} is damaged ({error}); copy the file again.") from error


def _check_memory(path: Path, uri: str) -> None:
    size, free = sum(file.stat().st_size for file in path.glob(WEIGHTS)), free_host_memory()
    if size > _MEMORY_SLACK * free:
        raise InvalidModel(
            uri,
            f"the weights have {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free; use a smaller model,"
            " or raise the memory in the stage's resources.",
        )


def _other_weights(uri: str, stated: str, found: str) -> InvalidModel:
    return InvalidModel(uri, f"config.json states {stated}, but the weights have {found}; copy all files again.")
