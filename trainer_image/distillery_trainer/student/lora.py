"""Adapters: how a method makes them, and how trained adapters are saved and merged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from distillery_api.spec import TrainingMethod
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.saving import replaced_folder


def lora_adapters(method: TrainingMethod, rank: int, alpha: int, dropout: float, layers: Sequence[str]) -> LoraConfig:
    """Adapters (arXiv 2106.09685) for the layers with these names, scaled and composed as the method says. Those of
    QLoRA are LoRA's: only the model beneath differs."""
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        use_rslora=method is TrainingMethod.RS_LORA,
        use_dora=method is TrainingMethod.DORA,
        target_modules=list(layers),
        task_type="CAUSAL_LM",
    )


def share_inputs(model: PreTrainedModel) -> None:
    """Have adapters take their layer's input as it is, rather than a copy of it in 32 bits, which the arithmetic in 16
    bits would round back: the numbers are the same, and a copy for each layer need not be made and kept. For a model
    that is only called under autocast."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and not layer.lora_variant:
            layer.cast_input_dtype_enabled = False


def merged(base: ModelFolder, adapter: Path, device: str = "cpu") -> PreTrainedModel:
    """The base model with a trained adapter merged into its weights, in the precision of the base model's files, also
    where it was trained in another one.

    Raises ValueError if the adapter contains numbers that are not finite.
    """
    model = PeftModel.from_pretrained(base.load("auto", device), adapter)
    return model.merge_and_unload(safe_merge=True)


def save_adapter(checkpoint: Path, folder: Path) -> None:
    """Copy the adapter of a checkpoint to a folder of its own."""
    with replaced_folder(folder) as draft:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(checkpoint / name, draft / name)
