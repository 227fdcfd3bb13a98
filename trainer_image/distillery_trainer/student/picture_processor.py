"""How a student that reads pictures wants them: tokens that stand for each in its prompt, and their pixels.

Both are the library's processor's to say. It is loaded without the part for videos, which needs a library of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PROCESSOR_MAPPING, PreTrainedTokenizerBase

from distillery_trainer.student.invalid_model import InvalidModel, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

_PARTS = ["image_processor", "tokenizer"]
_OF_PROMPTS = frozenset({"input_ids", "attention_mask"})


class PictureProcessor:
    """Encodes pictures for one model."""

    def __init__(self, path: Path, uri: str, config: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises InvalidModel where the folder does not say how the model reads pictures."""
        self._uri, self._tokenizer = uri, tokenizer
        self._processor = _read_processor(path, uri, config, tokenizer)

    def ids(self, text: str, pictures: Sequence[Image]) -> list[int]:
        """The ids of a prompt in which each picture has its tokens. Raises InvalidModel where the chat template did not
        write one mark for each of them."""
        self.check_mark(text, len(pictures))
        found = self._processor(text=[text], images=list(pictures), add_special_tokens=False)
        return [int(token) for token in found["input_ids"][0]]

    def check_mark(self, text: str, pictures: int = 1) -> None:
        """Raises InvalidModel unless a rendered prompt has one mark of the family's for each picture."""
        marks = text.count(self._processor.image_token)
        if marks != pictures:
            problem = f"its chat template writes {marks} marks for {pictures} pictures; use another model."
            raise InvalidModel(self._uri, problem)

    def inputs(self, ids: torch.Tensor, pictures: Sequence[Image]) -> dict[str, torch.Tensor]:
        """What the model needs beside the ids of a batch, of shape (sequences, tokens), for its pictures in order:
        their pixels, and where the family wants it, which tokens are theirs, in the shape of the ids."""
        pixels = self._processor.image_processor(images=list(pictures), return_tensors="pt")
        inputs = {name: value for name, value in pixels.items() if name not in _OF_PROMPTS}
        if self._processor.return_mm_token_type_ids:
            inputs["mm_token_type_ids"] = torch.tensor(self._processor.create_mm_token_type_ids(ids.tolist()))
        return inputs


def _read_processor(path: Path, uri: str, config: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    family = PROCESSOR_MAPPING.get(type(config), None)
    if family is None:
        raise InvalidModel(uri, f"the library has no processor for {config.model_type}; use another model.")
    without_videos: Any = type(family.__name__, (family,), {"get_attributes": classmethod(lambda _: _PARTS)})
    try:
        processor = without_videos.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # a processor is made of files of many formats, and raises what it likes
        raise InvalidModel(
            uri, f"how it reads pictures cannot be read: {first_line(error)}; copy its preprocessor_config.json again."
        ) from error
    processor.tokenizer = tokenizer
    return processor
