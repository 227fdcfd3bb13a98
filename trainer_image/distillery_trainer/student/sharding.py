"""A model whose weights, gradients and optimiser's state are divided over the processes of a training (FSDP2, torch's
`fully_shard`; ZeRO stage 3 of Rajbhandari et al., arXiv 1910.02054), for what does not fit into one GPU.

Each layer is gathered for as long as it computes. Checkpoints are those of a training in one process, so that any
number of processes can go on with them, sharded or not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel, Trainer
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from distillery_trainer.processes.process_group import this_group

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""All of it, in the memory of the first process."""


class ShardedTrainer(Trainer):  # type: ignore[misc]
    """Shards the model where it is told to."""

    def __init__(self, *, shards: bool = False, **options: Any) -> None:
        self.shards = shards
        super().__init__(**options)

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        """A model to be sharded is never on a device as a whole."""
        if not self.shards:
            super()._move_model_to_device(model, device)

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Weights are loaded before they are sharded; afterwards, a training goes on with its own checkpoint alone."""
        if not self._is_sharded:
            super()._load_from_checkpoint(*args, **kwargs)

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        if self.shards and not self._is_sharded:
            shard(self.model, self.args.device.type)
            # The trainer then leaves the model as it is, where it would wrap it to average its gradients.
            self.is_distributed_loading_by_transformers = True
        return super()._prepare_for_training(*args, **kwargs)

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)
        return norm.full_tensor() if self._is_sharded else norm

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self._is_sharded:
            state_dict = whole_weights(self.model)
        if self.args.should_save:
            super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self._is_sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = whole_optimizer_state(self.model, self.optimizer.optimizer)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self._is_sharded or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
        load_optimizer_state(self.model, self.optimizer.optimizer, state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))

    @property
    def _is_sharded(self) -> bool:
        return self.shards and bool(self.is_distributed_loading_by_transformers)


def shard(model: PreTrainedModel, device: str) -> None:
    """Divide a model in the host's memory over the devices of all processes, a layer at a time."""
    mesh = init_device_mesh(device, (this_group().size,))
    layers = set(model._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole_weights(model: nn.Module) -> dict[str, Any]:
    """The trained weights of a sharded model in the first process; nothing in the others. All have to call it."""
    weights: dict[str, Any] = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    )
    return weights


def whole_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of its optimiser as one process would have it, by the weights' numbers; nothing in the other
    processes. All have to call it."""
    state = get_optimizer_state_dict(model, optimizer, options=_WHOLE)
    if not state:
        return {}
    numbers = {name: number for number, name in enumerate(_names(state))}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {numbers[name]: each for name, each in state["state"].items()}, "param_groups": groups}


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give each process its part of that state."""
    names = _names(get_optimizer_state_dict(model, optimizer))
    groups = [{**group, "params": [names[number] for number in group["params"]]} for group in state["param_groups"]]
    whole = {"state": {names[number]: each for number, each in state["state"].items()}, "param_groups": groups}
    set_optimizer_state_dict(model, optimizer, whole, options=StateDictOptions(full_state_dict=True))


def _names(state: dict[str, Any]) -> list[str]:
    """Of the weights in the optimiser's order."""
    return [name for group in state["param_groups"] for name in group["params"]]
