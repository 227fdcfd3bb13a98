"""The files of a model folder, before any library reads them: what is missing, incomplete or something else."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from distillery_trainer.student.file_limits import check_file_sizes
from distillery_trainer.student.invalid_model import InvalidModel

CONFIG = "config.json"
WEIGHTS = "*.safetensors"
_ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS_INDEX = "model.safetensors.index.json"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tekken.json")
_OTHER_WEIGHTS = ("*.bin", "*.gguf", "*.pt", "*.pth", "*.ckpt")
_LFS_POINTER = b"version https://git-lfs"


def check_description(path: Path, uri: str) -> None:
    """Check that configuration and tokenizer are there. Raises InvalidModel."""
    if not path.is_dir():
        problem = "this is a file; name its folder." if path.exists() else f"the folder {path} does not exist."
        raise InvalidModel(uri, problem)
    if not any(path.iterdir()):
        raise InvalidModel(uri, "the folder is empty; copy all files of the model into it.")
    _refuse_pointers(path, uri)
    check_file_sizes(path, uri)
    if not (path / CONFIG).is_file():
        raise InvalidModel(uri, _without_config(path))
    if (path / _ADAPTER_CONFIG).exists():  # the library would load the adapter, on the model that it names
        raise InvalidModel(
            uri,
            f"the folder has an adapter beside the model; remove {_ADAPTER_CONFIG}, or merge the adapter into the"
            " model.",
        )
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise InvalidModel(uri, "the folder has no tokenizer; save one there with tokenizer.save_pretrained(FOLDER).")


def check_weights(path: Path, uri: str) -> None:
    """Check that the weights are there, and complete as far as their first bytes tell. Raises InvalidModel."""
    files = sorted(path.glob(WEIGHTS))
    if not files:
        raise InvalidModel(uri, without_weights([file.name for file in path.iterdir()]))
    if missing := _missing_parts(path, uri):
        raise InvalidModel(uri, f"files of the weights are missing ({', '.join(missing[:3])}); copy all files.")
    for file in files:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise InvalidModel(uri, f"{file.name} is damaged ({error}); copy the file again.") from error


def without_weights(names: list[str]) -> str:
    """What to say of a folder with these files, none of which are weights that can be used."""
    other = [name for name in sorted(names) if any(Path(name).match(pattern) for pattern in _OTHER_WEIGHTS)]
    if other:
        return (
            f"the folder has weights only as {other[0]}; convert them to *.safetensors, with"
            " model.save_pretrained(FOLDER)."
        )
    return "the folder has no weights; copy the *.safetensors files next to config.json."


def _without_config(path: Path) -> str:
    if (path / _ADAPTER_CONFIG).exists():
        return "the folder has an adapter, not a model; merge it into its base model, and name that folder."
    return "the folder has no config.json; use a model folder in the Hugging Face format."


def _refuse_pointers(path: Path, uri: str) -> None:
    for file in sorted(path.iterdir()):
        if file.is_file() and _starts_with(file, _LFS_POINTER):
            raise InvalidModel(uri, f"{file.name} is a Git LFS pointer, not the file; fetch it with git lfs pull.")


def _starts_with(file: Path, beginning: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(beginning)) == beginning


def _missing_parts(path: Path, uri: str) -> list[str]:
    """The files of weights that the index names and the folder lacks."""
    index = path / _WEIGHTS_INDEX
    if not index.is_file():
        return []
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        # A part is a file of this folder: another one is missing, wherever the name leads.
        return sorted(name for name in names if Path(name).name != name or not (path / name).is_file())
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise InvalidModel(uri, f"{_WEIGHTS_INDEX} is damaged; copy the file again.") from error
