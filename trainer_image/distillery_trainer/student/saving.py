"""Saves the trained student as a folder that transformers and vLLM can load; the folder appears only when complete."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import (
    GenerationConfig,
    PreTrainedModel,
)

from distillery_api.runtime.atomic_files import sync_files, sync_folder
from distillery_trainer.runtime.errors import storage_errors_explained
from distillery_trainer.student.model_folder import ModelFolder

_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_SYSTEM_ERROR = re.compile(r"os error (\d+)")


def save_student(model: PreTrainedModel, base: ModelFolder, folder: Path) -> None:
    """Write a self-contained model folder: weights, tokenizer, and greedy decoding as its default."""
    model.generation_config = greedy_decoding(base)
    with replaced_folder(folder) as draft:
        model.save_pretrained(draft)
        base.tokenizer.save_pretrained(draft)
        if model.config.model_type == base.config.model_type:
            copy_processor(base, draft)
        readable_by_servers(draft)


def copy_processor(base: ModelFolder, folder: Path) -> None:
    """Copy how a model reads images and sound, without which servers do not load it."""
    for name in _PROCESSOR_FILES:
        if (base.path / name).is_file():
            shutil.copyfile(base.path / name, folder / name)


def greedy_decoding(base: ModelFolder) -> GenerationConfig:
    """What a server reads its defaults from: decoding is deterministic, and ends at the end of the turn."""
    return GenerationConfig(
        do_sample=False,
        bos_token_id=base.tokenizer.bos_token_id,
        eos_token_id=list(base.end_of_turn),
        pad_token_id=base.tokenizer.pad_token_id,
    )


def readable_by_servers(folder: Path) -> None:
    """Weights are written readable by their owner only; a server may run as another user."""
    for path in folder.iterdir():
        path.chmod(0o644)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to that replaces `folder` when the block ends without an error."""
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    with weight_storage_errors_explained(str(folder)):
        draft.mkdir(parents=True)
        yield draft
        sync_files(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    sync_folder(folder.parent)


@contextmanager
def weight_storage_errors_explained(location: str) -> Iterator[None]:
    """Like `storage_errors_explained`, for libraries that wrap the system's error in one of their own."""
    with storage_errors_explained(location):
        try:
            yield
        except SafetensorError as error:
            number = _SYSTEM_ERROR.search(str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
        except RuntimeError as error:
            if "PytorchStreamWriter" not in str(error):
                raise
            raise OSError(errno.ENOSPC, str(error)) from error
