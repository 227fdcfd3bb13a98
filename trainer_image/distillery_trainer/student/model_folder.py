"""The folder of a model: found, checked and loaded.

Whatever is wrong with a model folder is reported before any training starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Message
from distillery_trainer.data.sources import resolve
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student import hub

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tekken.json")
_PROBE: tuple[Message, ...] = ({"role": "user", "content": "A"}, {"role": "assistant", "content": "B"})


class InvalidModel(UserError):
    """The student's model cannot be used; the message says which one, and what to do about it."""

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(f"student.model.uri: {uri}: {problem}", reason=Reason.INVALID_MODEL)


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

    @property
    def positions(self) -> int | None:
        """Maximum context length of the model, in tokens; None if it does not state one."""
        positions = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return positions if isinstance(positions, int) and positions > 0 else None

    def load(self, dtype: torch.dtype | str, device: str = "cpu") -> PreTrainedModel:
        """The model with its weights. `dtype` "auto" is that of the files. Raises InvalidModel."""
        with _load_errors_explained(self.uri):
            model, loading = AutoModelForCausalLM.from_pretrained(self.path, dtype=dtype, output_loading_info=True)
        if missing := sorted(loading["missing_keys"]):
            raise InvalidModel(
                self.uri, f"the weights {missing[0]} and {len(missing) - 1} more are missing; copy all files."
            )
        return model.to(device)


def locate(config: RunConfig) -> Path:
    """The folder of the base model, downloaded first if it is on the Hub. Raises UserError, TryLater."""
    uri = config.student.model.uri
    if uri.startswith("hf://"):
        return hub.download(uri)
    return Path(resolve(uri, config, "student.model.uri"))


def open_folder(path: Path, uri: str) -> ModelFolder:
    """Check a model folder and read all but its weights. Raises InvalidModel."""
    _check_files(path, uri)
    config = _read_config(path, uri)
    tokenizer = _read_tokenizer(path, uri)
    return ModelFolder(uri, path, config, tokenizer, _end_of_turn(path, config, tokenizer))


def _check_files(path: Path, uri: str) -> None:
    if not path.is_dir():
        problem = "this is a file; name its folder." if path.exists() else f"the folder {path} does not exist."
        raise InvalidModel(uri, problem)
    if not (path / "config.json").exists():
        raise InvalidModel(uri, "the folder has no config.json; use a model folder in the Hugging Face format.")
    if not any(path.glob("*.safetensors")):
        raise InvalidModel(uri, "the folder has no weights; copy the *.safetensors files next to config.json.")
    if not any((path / name).exists() for name in _TOKENIZER_FILES):
        raise InvalidModel(uri, "the folder has no tokenizer; save one there with tokenizer.save_pretrained(FOLDER).")


def _read_config(path: Path, uri: str) -> Any:
    with _load_errors_explained(uri):
        config = AutoConfig.from_pretrained(path)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        problem = f"a {config.model_type} model does not generate text; use a causal language model."
        raise InvalidModel(uri, problem)
    return config


def _read_tokenizer(path: Path, uri: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # loading a tokenizer raises whatever the libraries of its format raise
        raise InvalidModel(uri, f"the tokenizer cannot be read: {_first_line(error)}") from error
    if not tokenizer.chat_template:
        raise InvalidModel(
            uri,
            "the tokenizer has no chat template; use the instruction-tuned model of the family (its name often ends in"
            " -Instruct or -it), or set chat_template in tokenizer_config.json.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _end_of_turn(path: Path, config: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The end-of-sequence ids that the folder states, and the special token with which its chat template ends an answer
    (which some published folders, such as Phi-3's, do not state)."""
    named = [tokenizer.eos_token_id, config.get_text_config().eos_token_id]
    if (path / "generation_config.json").exists():
        named.append(GenerationConfig.from_pretrained(path).eos_token_id)
    ids = {number for entry in named for number in (entry if isinstance(entry, list) else [entry])}
    return tuple(sorted((ids - {None}) | _end_in_template(tokenizer)))


def _end_in_template(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    rendered = tokenizer.apply_chat_template(list(_PROBE), tokenize=False)
    last = last_token_with_text(tokenizer, tokenizer(rendered, add_special_tokens=False)["input_ids"])
    return {last} & set(tokenizer.all_special_ids) if last is not None else set()


def last_token_with_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> int | None:
    """The last token that is not white space; None if there is none."""
    return next((number for number in reversed(ids) if tokenizer.decode([number]).strip()), None)


@contextmanager
def _load_errors_explained(uri: str) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise InvalidModel(uri, f"the weights are corrupt ({error}); copy the files again.") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InvalidModel(uri, f"the model cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
