"""How long a text may become in a batch of prompts of different lengths, so that its answer stays, token for token, the
one that the model gives to it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

ANY_LENGTH = 2**31
_BATCHED_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
_CHUNKED = "chunked_attention"


def exact_up_to(model: PreTrainedModel) -> int:
    """Tokens of prompt and answer together. 0 for a model with layers that keep a state instead of keys and values
    (linear attention, convolutions, Mamba): padding would change it.

    Rows of a batch share the scale of their positions, which changes with the length of the longest: of long RoPE
    beyond the context of the first training (Phi-3-mini-128k, Phi-4-mini), of dynamic RoPE beyond the stated context.
    Chunks of attention begin at fixed positions, which padding shifts.
    """
    config = model.config.get_text_config(decoder=True)
    if not _has_keys_and_values(model, config):
        return 0
    limits = list(_limits_of_positions(config))
    if _CHUNKED in (getattr(config, "layer_types", None) or ()):
        limits.append(config.attention_chunk_size)
    return min(limits, default=ANY_LENGTH)


def _has_keys_and_values(model: PreTrainedModel, config: Any) -> bool:
    if getattr(model, "_is_stateful", False) and not getattr(config, "layer_types", None):
        return False
    try:
        layers = DynamicCache(config=model.config).layers
    except KeyError:  # a kind of layer for which the library has no cache that grows
        return False
    return all(type(layer) in _BATCHED_LAYERS for layer in layers)


def _limits_of_positions(config: Any) -> Iterator[int]:
    """For each kind of layer whose positions change with the length of the text."""
    stated = getattr(config, "rope_parameters", None) or {}
    kinds = [stated] if "rope_type" in stated else [kind for kind in stated.values() if isinstance(kind, dict)]
    for kind in kinds:
        rope_type = str(kind.get("rope_type"))
        if rope_type == "longrope":
            yield int(kind.get("original_max_position_embeddings") or config.max_position_embeddings)
        elif "dynamic" in rope_type:
            yield int(config.max_position_embeddings)
