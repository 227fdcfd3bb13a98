"""The trained student as a folder that transformers and vLLM load, which appears whole or not at all."""

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

from distillery_trainer.runtime.errors import storage_errors_explained
from distillery_trainer.student.model_folder import ModelFolder

_SYSTEM_ERROR = re.compile(r"os error (\d+)")


def save_student(model: PreTrainedModel, base: ModelFolder, folder: Path) -> None:
    """Write a model folder that needs nothing else: weights, tokenizer, and greedy decoding as its default."""
    # A server reads its defaults from here: the answer to a prompt is one answer, and it ends where the turn ends.
    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=base.tokenizer.bos_token_id,
        eos_token_id=list(base.end_of_turn),
        pad_token_id=base.tokenizer.pad_token_id,
    )
    with replaced_folder(folder) as draft:
        model.save_pretrained(draft)
        base.tokenizer.save_pretrained(draft)
        for path in draft.iterdir():
            path.chmod(0o644)  # the writer of weights keeps them to the user; a server may run as another one


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to that takes the place of `folder` when the block ends well."""
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    with weight_storage_errors_explained(str(folder)):
        draft.mkdir(parents=True)
        yield draft
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


@contextmanager
def weight_storage_errors_explained(place: str) -> Iterator[None]:
    """Like `storage_errors_explained`, for writers of weights, which hide the system's error in one of their own."""
    with storage_errors_explained(place):
        try:
            yield
        except SafetensorError as error:
            number = _SYSTEM_ERROR.search(str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
        except RuntimeError as error:
            if "PytorchStreamWriter" not in str(error):
                raise
            raise OSError(errno.ENOSPC, str(error)) from error
