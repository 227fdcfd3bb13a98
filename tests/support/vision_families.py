"""A tiny model of each family of students that reads pictures, with its tokenizer, template and processor files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaConfig, PreTrainedConfig, PreTrainedTokenizerFast, Qwen2_5_VLConfig

import family_templates as templates
from distillery_trainer.student.model_config import model_maker
from families import Family, family_tokenizer

_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_STD = 0.15
_TEXT = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": _STD,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class VisionFamily:
    """A family of students that reads pictures, tiny."""

    template: str
    tokens: tuple[str, ...]
    """Control tokens beside those of ChatML."""
    config: Callable[[PreTrainedTokenizerFast], PreTrainedConfig]
    files: Mapping[str, Any]
    """How it wants pictures: the content of its processor's files, by their names."""
    picture_tokens: int
    """Tokens of a picture of 8 x 8 pixels."""


def _ends(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in ("eos_token_id", "pad_token_id", "bos_token_id")}


def _llava(tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    return LlavaConfig(
        vision_config=vision,
        text_config={"model_type": "llama", **_TEXT, **_ends(tokenizer)},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        vision_feature_layer=-1,
    )


def _qwen(tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 4,
        "window_size": 16,
        "fullatt_block_indexes": [0],
    }
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    return Qwen2_5_VLConfig(
        vision_config=vision,
        text_config={**_TEXT, **_ends(tokenizer), "rope_parameters": rope},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )


VISION_FAMILIES = {
    "LLaVA": VisionFamily(
        templates.LLAVA,
        ("<image>",),
        _llava,
        {
            "preprocessor_config.json": {
                "image_processor_type": "CLIPImageProcessor",
                "size": {"shortest_edge": 16},
                "crop_size": {"height": 16, "width": 16},
            },
            "processor_config.json": {
                "processor_class": "LlavaProcessor",
                "patch_size": 8,
                "num_additional_image_tokens": 1,
                "vision_feature_select_strategy": "default",
            },
        },
        picture_tokens=4,
    ),
    "Qwen 2.5 VL": VisionFamily(
        templates.QWEN_2_5_VL,
        ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>"),
        _qwen,
        {
            "preprocessor_config.json": {
                "image_processor_type": "Qwen2VLImageProcessor",
                "processor_class": "Qwen2_5_VLProcessor",
                "patch_size": 4,
                "merge_size": 2,
                "temporal_patch_size": 2,
                "min_pixels": 64,
                "max_pixels": 1024,
            }
        },
        picture_tokens=1,
    ),
}


def write_vision_family(folder: Path, name: str) -> Path:
    """The model folder of a family, always with the same weights."""
    family = VISION_FAMILIES[name]
    tokens = (*_CHATML, *family.tokens)
    tokenizer = family_tokenizer(Family("", family.template, "", tokens, "<|im_end|>", pad="<|endoftext|>"))
    torch.manual_seed(7)
    model = model_maker(family.config(tokenizer)).from_config(family.config(tokenizer))
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=_STD)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file, content in family.files.items():
        (folder / file).write_text(json.dumps(content))
    return folder
