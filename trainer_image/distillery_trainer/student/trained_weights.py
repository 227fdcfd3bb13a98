"""The model as a method trains it: in which precision its weights are held, and where."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from distillery_api.reasons import Reason
from distillery_api.spec import TrainingMethod
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student import quantisation
from distillery_trainer.student.cpu_attention import attend_in_single_precision
from distillery_trainer.student.device import Device
from distillery_trainer.student.folder_files import WEIGHTS
from distillery_trainer.student.model_folder import ModelFolder

_ROOM_TO_MERGE = 1.2
"""The model, and one of its weights at a time before and after."""


def load_to_train(
    base: ModelFolder, method: TrainingMethod, device: Device, *, on_host: bool = False
) -> PreTrainedModel:
    """The base model on the device, or in the memory of the host until it is divided over several devices. Trained
    weights are held in 32 bits, frozen ones in the precision of the arithmetic or, for QLoRA, in 4 bits. Raises
    InvalidModel, or UserError where the machine lacks what the method needs."""
    if method is TrainingMethod.QLORA:
        refuse_unavailable(method)
        return base.load(device.dtype, device.kind, quantisation.four_bits(device.dtype))
    where = "cpu" if on_host else device.kind
    model = base.load(device.dtype if method.trains_adapters else torch.float32, where)
    attend_in_single_precision(model, device)
    return model


def refuse_unavailable(method: TrainingMethod) -> None:
    """Raises UserError if the method cannot be used on this machine."""
    lacking = quantisation.unavailable() if method is TrainingMethod.QLORA else None
    if lacking:
        raise UserError(f"training.method: {lacking}", reason=Reason.INVALID_SPEC)


def where_to_merge(base: ModelFolder, device: Device) -> str:
    """The device where the whole model has room beside what it holds, so that the host holds none of it; else the
    CPU."""
    if device.is_cpu:
        return device.kind
    torch.cuda.empty_cache()
    size = sum(file.stat().st_size for file in base.path.glob(WEIGHTS))
    return device.kind if device.free_memory() > _ROOM_TO_MERGE * size else "cpu"
