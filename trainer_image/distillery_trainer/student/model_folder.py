"""The folder of a model: found, checked and loaded.

Whatever is wrong with a model folder is reported before any training starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from transformers import GenerationConfig, PreTrainedTokenizerBase

from distillery_api.run_config import RunConfig
from distillery_trainer.data.locations import resolve
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.data.rows import Message
from distillery_trainer.student import hub
from distillery_trainer.student.chat_template import render
from distillery_trainer.student.folder_files import check_description, check_weights
from distillery_trainer.student.invalid_model import InvalidModel, first_line
from distillery_trainer.student.model_config import model_maker, read_config, reads_pictures
from distillery_trainer.student.picture_processor import PictureProcessor
from distillery_trainer.student.tokenizer import read_tokenizer
from distillery_trainer.student.weight_shapes import check_shapes

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import PreTrainedModel
    from transformers.utils.quantization_config import QuantizationConfigMixin

_GENERATION_CONFIG = "generation_config.json"
_PROBE: tuple[Message, ...] = ({"role": "user", "content": "A"}, {"role": "assistant", "content": "B"})

ChooseTemplate = Callable[[PreTrainedTokenizerBase], str]
"""The chat template to use, of a tokenizer that has one."""


@dataclass(frozen=True)
class ModelFolder:
    """A checked folder in the Hugging Face format, without its weights loaded."""

    uri: str
    """As in the manifest."""
    path: Path
    config: Any
    """The model's own configuration."""
    tokenizer: PreTrainedTokenizerBase
    """With a chat template and a padding token."""
    end_of_turn: tuple[int, ...]
    """All token ids that end an answer."""
    pictures: PictureFiles | None = None
    """The pictures that prompts may have; None where they have none."""

    @property
    def positions(self) -> int | None:
        """Maximum context length of the model, in tokens; None if it does not state one."""
        positions = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return positions if isinstance(positions, int) and positions > 0 else None

    @property
    def reads_pictures(self) -> bool:
        """Whether prompts may have pictures."""
        return reads_pictures(self.config)

    @cached_property
    def picture_processor(self) -> PictureProcessor:
        """How the model reads pictures. Raises InvalidModel."""
        if not self.reads_pictures:
            raise InvalidModel(self.uri, "it reads no pictures, and the rows have some; use a vision-language model.")
        return PictureProcessor(self.path, self.uri, self.config, self.tokenizer)

    def picture_inputs(self, ids: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the model needs beside the ids of a batch whose prompts have these pictures, in order."""
        return self.picture_processor.inputs(ids, self.opened(names)) if names else {}

    def opened(self, names: Sequence[str]) -> list[Image]:
        """Pictures by their names."""
        if self.pictures is None:
            raise InvalidModel(self.uri, "it was opened without the pictures of the rows.")
        return [self.pictures.opened(name) for name in names]

    def load(
        self, dtype: torch.dtype | str, device: str = "cpu", quantisation: QuantizationConfigMixin | None = None
    ) -> PreTrainedModel:
        """The model with its weights, which go from the files to the device one by one: the memory of the host holds
        them only where that is the device. `dtype` "auto" is that of the files. Raises InvalidModel."""
        with _load_errors_explained(self.uri):
            model, loading = model_maker(self.config).from_pretrained(
                self.path,
                dtype=dtype,
                device_map={"": device},
                quantization_config=quantisation,
                output_loading_info=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        if missing := sorted(loading["missing_keys"]):
            raise InvalidModel(
                self.uri, f"the weights {missing[0]} and {len(missing) - 1} more are missing; copy all files."
            )
        return model


def locate(config: RunConfig) -> Path:
    """The folder of the base model, downloaded first if it is on the Hub. Raises UserError, TryLater."""
    return _locate(config, hub.download)


def locate_description(config: RunConfig) -> Path:
    """The same, but what is downloaded has no weights."""
    return _locate(config, hub.download_description)


def _locate(config: RunConfig, download: Callable[[str], Path]) -> Path:
    uri = config.student.model.uri
    return download(uri) if hub.is_on_hub(uri) else Path(resolve(uri, config, "student.model.uri"))


def open_folder(path: Path, uri: str, choose_template: ChooseTemplate | None = None) -> ModelFolder:
    """Check a model folder and read all but its weights; by default, with its own chat template. Raises
    InvalidModel."""
    check_description(path, uri)
    check_weights(path, uri)
    folder = read_description(path, uri, choose_template)
    check_shapes(path, uri, folder.config)
    return folder


def read_description(path: Path, uri: str, choose_template: ChooseTemplate | None = None) -> ModelFolder:
    """The same for a folder whose weights need not be there."""
    check_description(path, uri)
    config = read_config(path, uri)
    tokenizer = read_tokenizer(path, uri, config)
    if choose_template is not None:
        tokenizer.chat_template = choose_template(tokenizer)
    return ModelFolder(uri, path, config, tokenizer, _end_of_turn(path, uri, config, tokenizer))


def _end_of_turn(path: Path, uri: str, config: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The end-of-sequence ids that the folder states, and the special tokens with which its chat template ends an
    answer (which some published folders, such as Phi-3's, do not state)."""
    named = [tokenizer.eos_token_id, config.get_text_config().eos_token_id]
    if (path / _GENERATION_CONFIG).exists():
        with _load_errors_explained(uri):
            named.append(GenerationConfig.from_pretrained(path).eos_token_id)
    ids = {number for entry in named for number in (entry if isinstance(entry, list) else [entry])}
    return tuple(sorted((ids - {None}) | _ends_in_template(tokenizer, uri)))


def _ends_in_template(tokenizer: PreTrainedTokenizerBase, uri: str) -> set[int]:
    """All that stand after the answer: Phi-3 ends a turn with one, and a whole conversation with another."""
    ids = tokenizer(render(tokenizer, uri, list(_PROBE)), add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids)
    after = itertools.takewhile(lambda token: token in special or not has_text(tokenizer, token), reversed(ids))
    return set(after) & special


def has_text(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    """Whether a token is anything but white space."""
    return bool(tokenizer.decode([token]).strip())


def last_token_with_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> int | None:
    """The last token that is not white space; None if there is none."""
    return next((number for number in reversed(ids) if has_text(tokenizer, number)), None)


@contextmanager
def _load_errors_explained(uri: str) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise InvalidModel(uri, f"the weights are corrupt ({error}); copy the files again.") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InvalidModel(uri, f"the model cannot be loaded: {first_line(error)}; copy all files again.") from error
