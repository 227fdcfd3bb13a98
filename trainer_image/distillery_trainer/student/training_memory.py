"""The memory that a training takes at its peak, reckoned from the sizes of the model, the method and the rows. Nothing
is loaded for it, and no training library.

Weights, gradients and optimiser are counted: 16 bytes a parameter where all are trained (Rajbhandari et al., ZeRO,
arXiv 1910.02054, section 3.1), the bytes of the arithmetic and 16 for each of the adapters otherwise, and 0.52 a
parameter of the linear layers in NormalFloat with quantised scales (Dettmers et al., QLoRA, arXiv 2305.14314, section
3). What a decoder layer keeps for the backward pass is listed tensor by tensor in `_bytes_per_token`, as Korthikanti et
al. do (arXiv 2205.05198, section 4.1), for layers with RMSNorm, a gated MLP and blockwise attention. Of a mixture of
experts, only the activations outside the experts are counted.

Published figures that it is compared with in the tests: torchtune states 18.5 GB for LoRA on Llama 3 8B, and less than
10 GB for QLoRA (docs/source/tutorials/llama3.rst of pytorch/torchtune).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from distillery_api.spec import TrainingMethod
from distillery_api.training_memory import TrainingMemory

LIBRARY_BYTES = 1_000_000_000
"""Bytes that the libraries take beside a training, on a GPU as well as in a container."""
_QUANTISED_BYTES = 0.52
"""Of a weight: 4 bits, and 0.127 bits of its share of the scales."""
_SINGLE = 4
"""Bytes of a number in 32 bits."""
_LOGIT_BYTES = 12
"""Of a logit: its logarithm of the softmax and its gradient in 32 bits, and the logit and its gradient in 16 bits, or
the logit in 32."""
_SCORE_BYTES = 8
"""Of an attention score where a model's softcapping rules out blockwise attention: before and after the softmax."""


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model, summed over all its layers where they are not said to be of one."""

    parameters: int
    linear_parameters: int
    """Those in linear layers, without the output layer."""
    linear_layers: int
    inputs: int
    """Of the linear layers."""
    outputs: int
    norms: int
    """Inputs of the normalisation layers."""
    layers: int
    hidden: int
    intermediate: int
    """Of one layer's MLP."""
    attention: int
    """Width of all heads of one layer."""
    heads: int
    vocabulary: int
    tied: bool
    """Whether the output layer is the embedding."""
    softcapped: bool
    """Whether attention scores are capped, and so held in memory."""


@dataclass(frozen=True)
class TrainingLoad:
    """What is trained on at a time, and how."""

    method: TrainingMethod
    number_bytes: int
    """Bytes of a number in the arithmetic: 2 for bfloat16, 4 for float32."""
    rank: int
    """Of the adapters; 0 for Full."""
    sequences: int
    """Rows at a time."""
    length: int
    """Tokens of each."""
    answer: int
    """Tokens of each that the loss covers."""
    keeps_activations: bool = True
    """Whether they are kept, rather than computed again in the backward pass but for the inputs of the layers."""
    processes: int = 1
    """Those that divide weights, gradients and optimiser's state among them; 1 where each has them all."""
    accumulates: bool = False
    """Whether gradients of a part of the batch are there already while the next part is processed."""


def training_memory(sizes: ModelSizes, load: TrainingLoad) -> TrainingMemory:
    """The memory at the peak of the second and all further steps."""
    full = not load.method.trains_adapters
    adapters = 0 if full else _adapter_parameters(sizes, load)
    trained = sizes.parameters if full else adapters
    held = (_weight_bytes(sizes, load) + adapters * _adapter_bytes(load)) // load.processes
    weights = held + _gathered_bytes(sizes, load)
    gradients = trained * _adapter_bytes(load) // load.processes
    optimizer = 2 * gradients
    activations, logits = activation_bytes(sizes, load), load.sequences * load.answer * sizes.vocabulary * _LOGIT_BYTES
    forward = activations + max(logits, _temporary_bytes(sizes, load)) + (gradients if load.accumulates else 0)
    backward = gradients + (_tied_gradient_bytes(sizes, load) if full and load.processes == 1 else 0)
    return TrainingMemory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        logits=logits,
        total=weights + optimizer + max(forward, backward),
        sequences=load.sequences,
        length=load.length,
    )


def least_load(load: TrainingLoad) -> TrainingLoad:
    """The same with as little in memory as the training can do with: one row at a time, and no activations."""
    return replace(load, sequences=1, keeps_activations=False)


def keeps_activations(sizes: ModelSizes, load: TrainingLoad, free: int) -> bool:
    """Whether the activations take less than half of what is free beside the weights."""
    return activation_bytes(sizes, replace(load, keeps_activations=True)) < free // 2


def divided_if_needed(sizes: ModelSizes, load: TrainingLoad, processes: int, available: int | None) -> TrainingLoad:
    """The load with the model divided over the GPUs of so many processes, where even one row at a time would not fit
    into one of them beside the whole model. Quantised weights cannot be divided."""
    if processes == 1 or available is None or load.method is TrainingMethod.QLORA:
        return load
    fits = training_memory(sizes, least_load(load)).total + LIBRARY_BYTES <= available
    return load if fits else replace(load, processes=processes)


def activation_bytes(sizes: ModelSizes, load: TrainingLoad) -> int:
    """What is there for the backward pass when it begins, without the logits."""
    per_token = _bytes_per_token(sizes, load)
    if not load.keeps_activations:
        inputs = sizes.layers * sizes.hidden * _residual_bytes(load)
        per_token = inputs + per_token / max(1, sizes.layers)
    copies = 0
    if load.method is TrainingMethod.FULL and load.number_bytes < _SINGLE:
        # Each weight is cast for the arithmetic, and kept for the gradient of its input.
        copies = load.number_bytes * (sizes.linear_parameters + sizes.vocabulary * sizes.hidden)
    return int(load.sequences * load.length * per_token) + copies


def _bytes_per_token(sizes: ModelSizes, load: TrainingLoad) -> float:
    number, full = load.number_bytes, not load.method.trains_adapters
    # Queries, keys and values for the attention, gate and up-projection for the MLP; the other outputs are only added.
    outputs = (sizes.outputs - 2 * sizes.hidden * sizes.layers) * number
    activated = sizes.intermediate * sizes.layers * number
    norms = sizes.norms * (_SINGLE + (_SINGLE if full else 0))
    if number < _SINGLE:
        # Every linear layer has a copy of its input in the precision of the arithmetic; Full shares the attention's.
        inputs = sizes.inputs * number + (0 if full else sizes.attention * sizes.layers * number)
    else:
        inputs = (2 * sizes.hidden + sizes.attention + sizes.intermediate) * sizes.layers * number
    adapters = 0 if full else load.rank * sizes.linear_layers * number
    if load.method is TrainingMethod.DORA:
        adapters += 2 * sizes.outputs * number  # of the layer and of its adapter, which the magnitudes scale
    scores = sizes.heads * sizes.layers * load.length * _SCORE_BYTES if sizes.softcapped else 0
    return outputs + activated + norms + inputs + adapters + scores


def _residual_bytes(load: TrainingLoad) -> int:
    """Of a number that goes from layer to layer."""
    return load.number_bytes if load.method.trains_adapters else _SINGLE


def _adapter_parameters(sizes: ModelSizes, load: TrainingLoad) -> int:
    magnitudes = sizes.outputs if load.method is TrainingMethod.DORA else 0
    return load.rank * (sizes.inputs + sizes.outputs) + magnitudes


def _adapter_bytes(load: TrainingLoad) -> int:
    """Of a trained number: those on a quantised model are held in 16 bits, as in the paper."""
    return 2 if load.method is TrainingMethod.QLORA else _SINGLE


def _weight_bytes(sizes: ModelSizes, load: TrainingLoad) -> int:
    if load.method is TrainingMethod.FULL:
        return _SINGLE * sizes.parameters
    if load.method is TrainingMethod.QLORA:
        others = sizes.parameters - sizes.linear_parameters
        return int(_QUANTISED_BYTES * sizes.linear_parameters) + load.number_bytes * others
    return load.number_bytes * sizes.parameters


def _gathered_bytes(sizes: ModelSizes, load: TrainingLoad) -> int:
    """Of a model that is divided: the layer that computes and the next one, and the embeddings, each with its
    gradients where all weights are trained."""
    if load.processes == 1:
        return 0
    layer, embeddings = sizes.linear_parameters // max(1, sizes.layers), sizes.vocabulary * sizes.hidden
    if load.method is TrainingMethod.FULL:
        return 2 * _SINGLE * (2 * layer + embeddings)
    return load.number_bytes * (2 * layer + embeddings)


def _temporary_bytes(sizes: ModelSizes, load: TrainingLoad) -> int:
    """Gradients of the largest activations of a layer, and for DoRA and QLoRA a weight in full."""
    weights = {TrainingMethod.DORA: 2 * _SINGLE, TrainingMethod.QLORA: load.number_bytes}.get(load.method, 0)
    gradients = 2 * sizes.intermediate * load.number_bytes * load.sequences * load.length
    return gradients + weights * sizes.hidden * sizes.intermediate


def _tied_gradient_bytes(sizes: ModelSizes, load: TrainingLoad) -> int:
    """Of the embedding, whose gradient is added to that of the output layer."""
    if not sizes.tied:
        return 0
    return (2 if load.number_bytes == _SINGLE else 1) * sizes.vocabulary * sizes.hidden * _SINGLE
