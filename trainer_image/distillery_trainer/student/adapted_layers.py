"""Which layers of a model get adapters: the linear layers of its text decoder that every token passes through.

Left out are the output layer, a tower for images or sound with its projector, and whatever chooses or is an expert of a
mixture: experts see few tokens each, a trained router unlearns how they share the work, and servers of adapters take
neither.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.nn import Linear, Module
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

_ROUTING = frozenset({"experts", "gate", "router", "shared_expert_gate"})
"""Names of modules that choose experts, or hold them."""
_FEED_FORWARD = frozenset({"gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"})
"""Names that PEFT takes for those of experts, in a model that has any: also for a dense layer beside them."""
_STATE_SPACE = ("A_log", "D")
"""Parameters that a state-space layer has. Its kernels read the weights of its `out_proj` past an adapter."""


def adapted_layers(model: PreTrainedModel) -> list[str]:
    """The full names of the layers that get adapters, in the model's order."""
    decoder = model.get_decoder()
    beginning = next((f"{name}." for name, module in model.named_modules() if module is decoder and name), "")
    names = [beginning + name for name in _dense_layers(decoder)]
    output = model.get_output_embeddings()
    return [name for name in names if model.get_submodule(name) is not output]


def _dense_layers(decoder: Module) -> Iterator[str]:
    modules = dict(decoder.named_modules())
    has_experts = any(name.rpartition(".")[2] == "experts" for name in modules)
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        routes = not _ROUTING.isdisjoint(name.split("."))
        of_experts = has_experts and own in _FEED_FORWARD
        fused = own == "out_proj" and all(hasattr(modules[parent], parameter) for parameter in _STATE_SPACE)
        if isinstance(module, Linear | Conv1D) and not (routes or of_experts or fused):
            yield name
