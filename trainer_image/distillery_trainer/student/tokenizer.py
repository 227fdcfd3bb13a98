"""The tokenizer of a student's model: read, with one chat template and a padding token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from distillery_trainer.student.invalid_model import InvalidModel, first_line
from distillery_trainer.student.template_trial import try_template


def read_tokenizer(path: Path, uri: str, config: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of the folder `path`, for a model with the configuration `config`. Raises InvalidModel."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # loading a tokenizer raises whatever the libraries of its format raise
        raise InvalidModel(uri, f"the tokenizer cannot be read: {first_line(error)}; copy its files again.") from error
    tokenizer.chat_template = _one_template(tokenizer, uri)
    try_template(tokenizer, uri)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    _check_ids(tokenizer, config, uri)
    return tokenizer


def _one_template(tokenizer: PreTrainedTokenizerBase, uri: str) -> str:
    """The chat template that conversations without tools are rendered with."""
    template = tokenizer.chat_template
    if not template:
        raise InvalidModel(
            uri,
            "the tokenizer has no chat template; use the instruction-tuned model of the family (its name often ends in"
            " -Instruct or -it), or set chat_template in tokenizer_config.json.",
        )
    if isinstance(template, str):
        return template
    if "default" not in template:
        raise InvalidModel(
            uri,
            f"the tokenizer has several chat templates ({', '.join(sorted(template))}) and none is the default; save"
            " one of them as chat_template.jinja.",
        )
    return str(template["default"])


def _check_ids(tokenizer: PreTrainedTokenizerBase, config: Any, uri: str) -> None:
    """A control token without an embedding would crash the training."""
    size = getattr(config.get_text_config(), "vocab_size", None)
    if not isinstance(size, int):
        return
    for name in ("pad_token", "eos_token", "bos_token"):
        number = getattr(tokenizer, f"{name}_id")
        if number is not None and number >= size:
            raise InvalidModel(
                uri,
                f"the {name} {getattr(tokenizer, name)} has the id {number}, but the model has only {size} embeddings;"
                f" set {name} in tokenizer_config.json to a token below that.",
            )
