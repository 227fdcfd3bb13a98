"""Attention in 32 bits on a CPU that computes in bfloat16: with numbers of 16 bits, torch's kernel takes two to three
times as long for both passes, and rounds more."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from distillery_trainer.student.device import Device

NAME = "sdpa in float32"
"""Of the attention, as the library and the log call it."""
_BLOCKWISE = "sdpa"


def attend_in_single_precision(model: PreTrainedModel, device: Device) -> None:
    """Have a model's blockwise attention compute in 32 bits, where that is faster."""
    is_slower = device.is_cpu and device.dtype is torch.bfloat16
    if is_slower and model.config._attn_implementation == _BLOCKWISE:
        AttentionInterface.register(NAME, _attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    **options: Any,
) -> Any:
    """As the library's function, whose arguments and result these are; some towers name theirs. One token at a time, as
    in replies, the cache is taken as it is."""
    if query.shape[2] == 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    mask = attention_mask
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    with torch.autocast(query.device.type, enabled=False):
        attended, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)
    return attended.to(query.dtype), None
