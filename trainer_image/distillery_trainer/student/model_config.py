"""The configuration of a student's model: read, and refused if nothing can be trained or served with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from distillery_trainer.student.file_limits import check_numbers
from distillery_trainer.student.folder_files import CONFIG
from distillery_trainer.student.invalid_model import InvalidModel, first_line

_GENERATING = ("CausalLM", "LMHead", "ConditionalGeneration")
"""Parts of the names of architectures that generate text."""


def read_config(path: Path, uri: str) -> Any:
    """The configuration of a causal language model. Raises InvalidModel."""
    stated = _stated(path, uri)
    check_numbers(stated, uri)
    _check_type(stated, uri)
    _check_not_quantised(stated, uri)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # configurations check themselves, and raise what they like
        raise InvalidModel(uri, f"{CONFIG} is not valid: {first_line(error)}; copy the file again.") from error
    _check_generates(config, uri)
    return config


def model_maker(config: Any) -> Any:
    """The library's class that makes and loads the model of a configuration: its language model where that is one by
    itself, as in Qwen 3.5, else all of it, as in LLaVA."""
    return AutoModelForCausalLM if _is_language_model(config) else AutoModelForImageTextToText


def reads_pictures(config: Any) -> bool:
    """Whether that model reads pictures."""
    kind = type(config)
    seeing = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING.get(kind, None)
    return seeing is not None and (not _is_language_model(config) or MODEL_FOR_CAUSAL_LM_MAPPING[kind] is seeing)


def _is_language_model(config: Any) -> bool:
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING


def _stated(path: Path, uri: str) -> dict[str, Any]:
    try:
        stated = json.loads((path / CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidModel(uri, f"{CONFIG} is not JSON; copy the file again.") from error
    if not isinstance(stated, dict):
        raise InvalidModel(uri, f"{CONFIG} is not a JSON object; copy the file again.")
    return stated


def _check_type(stated: dict[str, Any], uri: str) -> None:
    model_type = stated.get("model_type")
    if model_type in CONFIG_MAPPING:
        return
    if "auto_map" in stated:
        raise InvalidModel(
            uri,
            "the model needs program code from its own folder, which is not run; use a model that the Transformers"
            " library knows.",
        )
    if model_type is None:
        raise InvalidModel(uri, f"{CONFIG} has no model_type; copy all files of the model again.")
    raise InvalidModel(
        uri,
        f"the Transformers library ({transformers.__version__}) knows no model_type {model_type!r}; use another model.",
    )


def _check_not_quantised(stated: dict[str, Any], uri: str) -> None:
    quantisation = stated.get("quantization_config")
    if quantisation:
        method = quantisation.get("quant_method", "unknown") if isinstance(quantisation, dict) else "unknown"
        raise InvalidModel(
            uri, f"the weights are quantised ({method}) and cannot be trained; use the model with its full weights."
        )


def _check_generates(config: Any, uri: str) -> None:
    named = config.architectures or []
    generates = not named or any(part in name for name in named for part in _GENERATING)
    if not generates or not (_is_language_model(config) or type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING):
        what = f"{named[0]} ({config.model_type})" if named else config.model_type
        raise InvalidModel(uri, f"a model of type {what} does not generate text; use a causal language model.")
