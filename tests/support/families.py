"""One tiny model of every family of students: made from the family's own configuration class, with its kind of
attention, positions and embeddings, its control tokens, and a chat template in its form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import family_templates as templates
from distillery_api.stage import Stage
from distillery_trainer.evaluation.exact_batches import ANY_LENGTH
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import train
from train_evaluate_run import TrainEvaluateRun, training_rows

_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
}
_VOCABULARY = 512
"""Embeddings; the tokenizer has fewer ids."""
_TEXT = (
    "Answer with one word: entailment, neutral or contradiction. Premise: the cat sits on a mat, number 1234567890."
    " Hypothesis: two dogs ran. system user assistant model Say a label. A cat sits. You are a helpful assistant."
)
IMAGES = "preprocessor_config.json"
"""How a model that also reads images wants them."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
DENSE = (*ATTENTION, "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Family:
    """A family of students, tiny."""

    config: str
    """The configuration's class."""
    template: str
    prompt: str
    """How the template writes a system message "Say a label." and a user's "A cat sits." for a student that does not
    think, on 9 November 2026."""
    tokens: tuple[str, ...]
    """Control tokens; the first is that of the end of a text."""
    end: str
    """The token that ends an answer."""
    bos: str | None = None
    adds_bos: bool = False
    """Whether the tokenizer puts it before every text by itself."""
    pad: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the configuration."""
    text_fields: Mapping[str, Any] | None = None
    """Of the text part of a model that also reads images."""
    tied: bool = False
    """Whether the output layer has the weights of the embeddings."""
    adapted: tuple[str, ...] = DENSE
    """Names of the layers that get adapters."""
    exact_up_to: int = ANY_LENGTH
    """Tokens up to which prompts of different lengths may be answered in one batch."""
    epochs: int = 6
    """How often it sees 120 rows, so that it has learnt ten on any processor."""


def _chatml(before: str = "", after: str = "") -> str:
    return (
        f"{before}<|im_start|>system\nSay a label.<|im_end|>\n<|im_start|>user\nA cat sits.<|im_end|>\n"
        f"<|im_start|>assistant\n{after}"
    )


_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA_TOKENS = ("<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_GEMMA_TOKENS = ("<eos>", "<bos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<image>")
_PHI_TOKENS = ("<|endoftext|>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_GRANITE_TOKENS = ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")
_MISTRAL_TOKENS = ("</s>", "<s>")
_GEMMA_PROMPT = "<bos><start_of_turn>user\nSay a label.\n\nA cat sits.<end_of_turn>\n<start_of_turn>model\n"
_PHI_PROMPT = "<|system|>\nSay a label.<|end|>\n<|user|>\nA cat sits.<|end|>\n<|assistant|>\n"
_GRANITE_PROMPT = (
    "<|start_of_role|>system<|end_of_role|>Say a label.<|end_of_text|>\n"
    "<|start_of_role|>user<|end_of_role|>A cat sits.<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
)
_PHI_LAYERS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
_LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "long_factor": [2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0],
    "original_max_position_embeddings": 96,
}
_MAMBA = {
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_n_heads": 8,
    "mamba_chunk_size": 16,
    "mamba_n_groups": 1,
}

FAMILIES: dict[str, Family] = {
    "Llama 3.2": Family(
        "LlamaConfig",
        templates.LLAMA_3,
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 09 Nov 2026\n\nSay a label.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nA cat sits."
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        _LLAMA_TOKENS,
        "<|eot_id|>",
        bos="<|begin_of_text|>",
        adds_bos=True,
        fields={
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        tied=True,
    ),
    "Phi-3-mini-4k": Family(
        "Phi3Config",
        templates.PHI_3,
        _PHI_PROMPT,
        _PHI_TOKENS,
        "<|end|>",
        bos="<s>",
        pad="<|endoftext|>",
        fields={"sliding_window": 97},
        adapted=_PHI_LAYERS,
    ),
    "Phi-3-mini-128k": Family(
        "Phi3Config",
        templates.PHI_3,
        _PHI_PROMPT,
        _PHI_TOKENS,
        "<|end|>",
        bos="<s>",
        pad="<|endoftext|>",
        fields={"original_max_position_embeddings": 96, "rope_parameters": _LONG_ROPE},
        adapted=_PHI_LAYERS,
        exact_up_to=96,
    ),
    "Phi-4-mini": Family(
        "Phi3Config",
        templates.PHI_4_MINI,
        "<|system|>Say a label.<|end|><|user|>A cat sits.<|end|><|assistant|>",
        _PHI_TOKENS,
        "<|end|>",
        bos="<|endoftext|>",
        pad="<|endoftext|>",
        fields={
            "original_max_position_embeddings": 96,
            "rope_parameters": {
                **_LONG_ROPE,
                "partial_rotary_factor": 0.75,
                "short_factor": _LONG_ROPE["short_factor"][:6],  # type: ignore[index]
                "long_factor": _LONG_ROPE["long_factor"][:6],  # type: ignore[index]
            },
        },
        tied=True,
        adapted=_PHI_LAYERS,
        exact_up_to=96,
    ),
    "Qwen 2.5": Family(
        "Qwen2Config",
        templates.QWEN_2_5,
        _chatml(),
        _CHATML_TOKENS,
        "<|im_end|>",
        pad="<|endoftext|>",
        fields={"rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}},
        tied=True,
    ),
    "Qwen 3": Family(
        "Qwen3Config",
        templates.QWEN_3,
        _chatml(after="<think>\n\n</think>\n\n"),
        _CHATML_TOKENS,
        "<|im_end|>",
        pad="<|endoftext|>",
        fields={"head_dim": 32},
        tied=True,
    ),
    "Qwen 3.5": Family(
        "Qwen3_5TextConfig",
        templates.QWEN_3_5,
        _chatml(after="<think>\n\n</think>\n\n"),
        _CHATML_TOKENS,
        "<|im_end|>",
        pad="<|endoftext|>",
        fields={
            "head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
        tied=True,
        adapted=(*DENSE, "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"),
        exact_up_to=0,
        epochs=10,
    ),
    "Gemma 2": Family(
        "Gemma2Config",
        templates.GEMMA_2,
        _GEMMA_PROMPT,
        _GEMMA_TOKENS,
        "<end_of_turn>",
        bos="<bos>",
        adds_bos=True,
        pad="<pad>",
        fields={
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 97,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        tied=True,
    ),
    "Gemma 3 text": Family(
        "Gemma3TextConfig",
        templates.GEMMA_3,
        _GEMMA_PROMPT,
        _GEMMA_TOKENS,
        "<end_of_turn>",
        bos="<bos>",
        adds_bos=True,
        pad="<pad>",
        fields={
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 97,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        tied=True,
    ),
    "Gemma 3 with images": Family(
        "Gemma3Config",
        templates.GEMMA_3,
        _GEMMA_PROMPT,
        _GEMMA_TOKENS,
        "<end_of_turn>",
        bos="<bos>",
        adds_bos=True,
        pad="<pad>",
        fields={
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 32,
                "patch_size": 8,
            },
            "mm_tokens_per_image": 4,
            "image_token_index": _VOCABULARY - 1,
        },
        text_fields={
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 97,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        tied=True,
    ),
    "Mistral 0.1": Family(
        "MistralConfig",
        templates.MISTRAL_0_1,
        "<s>[INST] Say a label.\n\nA cat sits. [/INST]",
        _MISTRAL_TOKENS,
        "</s>",
        bos="<s>",
        adds_bos=True,
        fields={"sliding_window": 97},
    ),
    "Mistral 0.3": Family(
        "MistralConfig",
        templates.MISTRAL_0_3,
        "<s>[INST] Say a label.\n\nA cat sits.[/INST]",
        ("</s>", "<s>", "[INST]", "[/INST]"),
        "</s>",
        bos="<s>",
        adds_bos=True,
        fields={"sliding_window": None, "head_dim": 16},
    ),
    "SmolLM 2": Family(
        "LlamaConfig",
        templates.SMOLLM_2,
        _chatml(),
        _CHATML_TOKENS,
        "<|im_end|>",
        bos="<|im_start|>",
        pad="<|im_end|>",
        tied=True,
    ),
    "SmolLM 3": Family(
        "SmolLM3Config",
        templates.SMOLLM_3,
        "<|im_start|>system\n## Metadata\n\nToday Date: 09 November 2026\nReasoning Mode: /no_think\n\n"
        "## Custom Instructions\n\nSay a label.<|im_end|>\n<|im_start|>user\nA cat sits.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n",
        ("<|end_of_text|>", "<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
        fields={"no_rope_layers": [1, 0]},
        tied=True,
        epochs=10,
    ),
    "Granite 3": Family(
        "GraniteConfig",
        templates.GRANITE_3,
        _GRANITE_PROMPT,
        _GRANITE_TOKENS,
        "<|end_of_text|>",
        bos="<|end_of_text|>",
        pad="<|end_of_text|>",
        fields={
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.9,
            "attention_multiplier": 0.25,
            "logits_scaling": 2.0,
        },
        tied=True,
    ),
    "Granite 4 hybrid": Family(
        "GraniteMoeHybridConfig",
        templates.GRANITE_4,
        _GRANITE_PROMPT,
        _GRANITE_TOKENS,
        "<|end_of_text|>",
        bos="<|end_of_text|>",
        pad="<|end_of_text|>",
        fields={
            **_MAMBA,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 0,
            "shared_intermediate_size": 96,
            "position_embedding_type": "nope",
            "attention_multiplier": 0.25,
        },
        tied=True,
        adapted=(*ATTENTION, "in_proj", "input_linear", "output_linear"),
        exact_up_to=0,
    ),
    "OLMo 2": Family(
        "Olmo2Config",
        templates.OLMO_2,
        "<|endoftext|><|system|>\nSay a label.\n<|user|>\nA cat sits.\n<|assistant|>\n",
        ("<|endoftext|>", "<|pad|>"),
        "<|endoftext|>",
        bos="<|endoftext|>",
        pad="<|pad|>",
    ),
    "OLMo 3": Family(
        "Olmo3Config",
        templates.CHATML,
        _chatml(),
        (*_CHATML_TOKENS, "<|pad|>"),
        "<|im_end|>",
        bos="<|endoftext|>",
        pad="<|pad|>",
        fields={"sliding_window": 97, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "LFM 2": Family(
        "Lfm2Config",
        templates.CHATML_AFTER_BOS,
        _chatml("<|startoftext|>"),
        (*_CHATML_TOKENS, "<|startoftext|>", "<|pad|>"),
        "<|im_end|>",
        bos="<|startoftext|>",
        adds_bos=True,
        pad="<|pad|>",
        fields={"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
        tied=True,
        adapted=("q_proj", "k_proj", "v_proj", "out_proj", "w1", "w2", "w3", "in_proj"),
        exact_up_to=0,
    ),
    "Falcon-H1": Family(
        "FalconH1Config",
        templates.CHATML_AFTER_BOS,
        _chatml("<|begin_of_text|>"),
        (*_CHATML_TOKENS, "<|begin_of_text|>", "<|pad|>"),
        "<|im_end|>",
        bos="<|begin_of_text|>",
        pad="<|pad|>",
        fields={**_MAMBA, "mamba_d_ssm": 128},
        adapted=(*DENSE, "in_proj"),
        exact_up_to=0,
    ),
    "Mixtral": Family(
        "MixtralConfig",
        templates.MISTRAL_0_1,
        "<s>[INST] Say a label.\n\nA cat sits. [/INST]",
        _MISTRAL_TOKENS,
        "</s>",
        bos="<s>",
        adds_bos=True,
        fields={"num_local_experts": 4},
        adapted=ATTENTION,
    ),
    "Qwen 3 MoE": Family(
        "Qwen3MoeConfig",
        templates.CHATML,
        _chatml(),
        _CHATML_TOKENS,
        "<|im_end|>",
        pad="<|endoftext|>",
        fields={"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "head_dim": 16},
        adapted=ATTENTION,
    ),
    "gpt-oss": Family(
        "GptOssConfig",
        templates.GPT_OSS,
        "<|start|>system<|message|>You are a model.\nCurrent date: 2026-11-09\n\nReasoning: medium<|end|><|start|>"
        "developer<|message|># Instructions\n\nSay a label.<|end|><|start|>user<|message|>A cat sits.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>",
        ("<|endoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        "<|return|>",
        bos="<|startoftext|>",
        pad="<|endoftext|>",
        fields={
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "head_dim": 16,
            "sliding_window": 97,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150_000.0,
                "factor": 8.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 64,
            },
        },
        adapted=ATTENTION,
    ),
}
"""By name. Sliding windows and the positions of the training are so short that tests cross them."""


def write_family(folder: Path, name: str, **changes: Any) -> Path:
    """The model folder of a family, always with the same weights, and with changed fields of its configuration."""
    family = replace(FAMILIES[name], fields={**FAMILIES[name].fields, **changes})
    tokenizer = family_tokenizer(family)
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(_config(family, tokenizer))
    # A new model has zeros for the padding, which in some families is the token that ends an answer.
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=_SIZES["initializer_range"])
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if family.text_fields is not None:
        (folder / IMAGES).write_text('{"image_processor_type": "Gemma3ImageProcessor"}')
    return folder


def learn_ten_rows(base: Path, workspace: Path, epochs: int) -> TrainEvaluateRun:
    """Train a student of ten rows, which share all but a few words, by the train stage."""
    rows = training_rows(10)
    lora = {"rank": 8, "alpha": 16}
    settings = {"learningRate": 0.01, "epochs": epochs, "batchSize": 5, "warmupSteps": 0, "lora": lora}
    run = TrainEvaluateRun(workspace, base, train=rows * 12, validation=rows[:3], training=settings)
    train.run(run.config(Stage.TRAIN), ProgressReporter(Stage.TRAIN))
    return run


def _config(family: Family, tokenizer: PreTrainedTokenizerFast) -> Any:
    ids = {
        "vocab_size": _VOCABULARY,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    made = getattr(transformers, family.config)
    if family.text_fields is None:
        return made(**{**_SIZES, **ids, "tie_word_embeddings": family.tied, **family.fields})
    text = {**_SIZES, **ids, "tie_word_embeddings": family.tied, **family.text_fields}
    return made(text_config=text, **{**ids, **family.fields})


def family_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(_trained())
    controls = [*family.tokens, *([family.bos] if family.bos and family.bos not in family.tokens else [])]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=family.tokens[0],
        bos_token=family.bos,
        pad_token=family.pad,
        additional_special_tokens=controls,
        clean_up_tokenization_spaces=False,
    )
    if family.adds_bos and family.bos:
        fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, fast.convert_tokens_to_ids(family.bos))]
        )
    fast.chat_template = family.template
    return fast


@cache
def _trained() -> str:
    """A tokenizer of bytes and a few words, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([_TEXT] * 3, trainer)
    return json.dumps(json.loads(tokenizer.to_str()))
