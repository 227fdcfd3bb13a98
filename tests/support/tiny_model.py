"""Models that fit a test: real architectures with random weights, 64 hidden units and 2 layers, and the small student's
real tokenizer and chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from small_student import small_student

END_OF_TURN = 2
"""`<|im_end|>` in the tokenizer."""
_SIZES = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": END_OF_TURN,
    "pad_token_id": END_OF_TURN,
    "tie_word_embeddings": True,
}
FAMILIES: dict[str, type[PreTrainedConfig]] = {
    "Llama": LlamaConfig,
    "Qwen2": Qwen2Config,
    "Qwen3": Qwen3Config,
    "Mistral": MistralConfig,
    "Phi3": Phi3Config,
    "Gemma2": Gemma2Config,
    "Gemma3": Gemma3TextConfig,
}
_OWN_SIZES = {"Qwen3": {"head_dim": 16}, "Gemma2": {"head_dim": 16}, "Gemma3": {"head_dim": 16}}


def write_tiny_model(folder: Path, family: str = "Llama", template: str | None = None, **changes: object) -> Path:
    """A model folder of one of the FAMILIES, about 13 MB, always with the same weights, and with this chat template or
    the small student's."""
    torch.manual_seed(7)
    config = FAMILIES[family](**{**_SIZES, **_OWN_SIZES.get(family, {}), **changes})
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=END_OF_TURN, pad_token_id=END_OF_TURN)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(small_student() / name, folder / name)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def read_model(folder: Path):  # type: ignore[no-untyped-def]
    """The model of a folder, as transformers loads it by itself."""
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def read_tokenizer(folder: Path):  # type: ignore[no-untyped-def]
    """The tokenizer of a folder, as transformers loads it by itself."""
    return AutoTokenizer.from_pretrained(folder)
