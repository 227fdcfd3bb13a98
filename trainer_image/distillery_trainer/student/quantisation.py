"""The model in 4 bits while adapters are trained on it (QLoRA, arXiv 2305.14314). The adapters are merged into the
model in its own precision, never into the 4-bit one.

Without a GPU it would take many times as long as LoRA and save no memory that a CPU lacks, so it is refused there.
"""

from __future__ import annotations

import importlib.util

import torch
from transformers import BitsAndBytesConfig

_LIBRARY = "bitsandbytes"
_ANOTHER_METHOD = "set training.method to LoRA"


def unavailable() -> str | None:
    """What QLoRA lacks on this machine, and what to do, in one sentence; None if nothing."""
    if not torch.cuda.is_available():
        return f"QLoRA needs a GPU, and this machine has none that torch can use; {_ANOTHER_METHOD}, or run on a GPU."
    if importlib.util.find_spec(_LIBRARY) is None:
        return (
            f"QLoRA needs the library {_LIBRARY}, which is not installed; install the extra qlora"
            f" (pip install 'distillery[qlora]'), or {_ANOTHER_METHOD}."
        )
    return None


def four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NormalFloat of 4 bits with quantised scales for all linear layers but the output layer, 0.52 bytes a parameter;
    the arithmetic is in `dtype` (sections 3 and 4 of the paper)."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
