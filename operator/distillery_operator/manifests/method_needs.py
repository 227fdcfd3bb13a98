"""What a training method needs of the Pod that trains."""

from __future__ import annotations

from distillery_api.spec import StageOptions, TrainingMethod
from distillery_operator.manifests.container_resources import has_accelerator


def lacking_for_method(method: TrainingMethod, options: StageOptions) -> str | None:
    """What the train stage's Pod does not ask for and the method needs, and what to do; None if nothing. `options` are
    those of the stage's Pod, with the GPUs of training.gpusPerNode."""
    if method is not TrainingMethod.QLORA or has_accelerator(options):
        return None
    return (
        "training.method: QLoRA needs a GPU; ask for one by training.gpusPerNode: 1 or in training.resources, such as"
        " limits: {nvidia.com/gpu: 1}, or set training.method to LoRA"
    )
