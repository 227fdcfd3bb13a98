"""Answers by the library's own `generate`, for models and lengths that cannot be batched otherwise: all prompts of a
batch have one length, so that none is padded, and all have the same positions at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, StoppingCriteria


class _Alive(StoppingCriteria):  # type: ignore[misc]  # the library is not typed for us
    """Says for every token that something was done, and stops nothing."""

    def __init__(self, alive: Callable[[], object]) -> None:
        self._alive = alive

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """False for each row."""
        self._alive()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def most_likely_tokens(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    max_tokens: int,
    end_of_turn: Sequence[int],
    *,
    alive: Callable[[], object],
    pictures: Mapping[str, torch.Tensor],
) -> list[list[int]]:
    """What the model writes after each prompt, up to `max_tokens` tokens, or to a token that ends the turn and whatever
    fills the row up after it. The prompts have one length; `pictures` is what the model needs for theirs."""
    _forget_longer_texts(model)
    ids = torch.tensor(list(prompts), device=model.device)
    greedy = GenerationConfig(
        do_sample=False, max_new_tokens=max_tokens, eos_token_id=list(end_of_turn), pad_token_id=end_of_turn[0]
    )
    with _own_defaults(model):
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **{name: value.to(model.device) for name, value in pictures.items()},
            generation_config=greedy,
            stopping_criteria=[_Alive(alive)],
        )
    written: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return written


@contextmanager
def _own_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Without what the model's folder adds to greedy decoding, such as a penalty for repetitions."""
    stated = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = stated


def _forget_longer_texts(model: PreTrainedModel) -> None:
    """Positions of dynamic RoPE keep the scale of the longest text so far; here, each text begins with its own."""
    for module in model.modules():
        rope_type = getattr(module, "rope_type", None)
        if isinstance(rope_type, str) and "dynamic" in rope_type:
            module.max_seq_len_cached = module.original_max_seq_len
            module.register_buffer("inv_freq", module.original_inv_freq.clone(), persistent=False)
