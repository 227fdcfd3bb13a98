"""The sizes of a model by which its memory is reckoned, from its configuration: the model is built without weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from distillery_trainer.student.model_config import model_maker
from distillery_trainer.student.training_memory import ModelSizes

_HEAD_NORMS = {"q_norm": "num_attention_heads", "k_norm": "num_key_value_heads"}
"""Normalisations of each head, by the configuration's number of heads."""


def model_sizes(config: Any) -> ModelSizes:
    """The sizes of the model that a configuration describes. Raises what the model's class raises."""
    with torch.device("meta"):
        model = model_maker(config).from_config(config)
    text = config.get_text_config()
    output = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not output]
    heads = text.num_attention_heads
    head_width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelSizes(
        parameters=model.num_parameters(),
        linear_parameters=sum(module.weight.numel() for module in linear),
        linear_layers=len(linear),
        inputs=sum(module.in_features for module in linear),
        outputs=sum(module.out_features for module in linear),
        norms=sum(_norm_width(name, module, text) for name, module in model.named_modules()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=_width(getattr(text, "intermediate_size", None) or 4 * text.hidden_size),
        attention=heads * head_width,
        heads=heads,
        vocabulary=text.vocab_size,
        tied=bool(output is not None and output.weight is model.get_input_embeddings().weight),
        softcapped=bool(getattr(text, "attn_logit_softcapping", None)),
    )


def known_sizes(config: Any) -> ModelSizes | None:
    """The same; None where the configuration does not tell."""
    try:
        return model_sizes(config)
    except Exception:  # noqa: BLE001 - model classes raise what they like, and only an estimate is missing
        return None


def _width(stated: Any) -> int:
    """One width, where some models state one for each layer."""
    return max(stated) if isinstance(stated, list | tuple) else int(stated)


def _norm_width(name: str, module: nn.Module, text: Any) -> int:
    """The inputs of a normalisation layer; 0 of other modules."""
    weight = getattr(module, "weight", None)
    if not type(module).__name__.endswith("Norm") or weight is None:
        return 0
    heads = _HEAD_NORMS.get(name.rsplit(".", 1)[-1])
    return int(weight.numel()) * (int(getattr(text, heads, 1)) if heads else 1)
