"""The GPUs of a training by several processes, as a resource of its container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery_api.spec import Resources, Training
from distillery_operator.planning.names import STAGE_CONTAINER

GPU = "nvidia.com/gpu"


def with_gpus(training: Training, gpus: int | None) -> Training:
    """The training's options with a limit of so many GPUs, unless its resources or its Pod template name any."""
    if gpus is None or _names_gpus(training):
        return training
    given = training.resources or Resources()
    return training.model_copy(
        update={"resources": given.model_copy(update={"limits": {**(given.limits or {}), GPU: gpus}})}
    )


def _names_gpus(training: Training) -> bool:
    template = training.pod_template.to_manifest() if training.pod_template else {}
    containers = (template.get("spec") or {}).get("containers") or ()
    own = next((each.get("resources") or {} for each in containers if each["name"] == STAGE_CONTAINER), {})
    resources = training.resources.to_manifest() if training.resources else {}
    return bool(own.get("claims")) or any(_is_gpu(name) for each in (resources, own) for name in _names(each))


def _names(resources: Mapping[str, Any]) -> list[str]:
    return [*(resources.get("requests") or {}), *(resources.get("limits") or {})]


def _is_gpu(name: str) -> bool:
    """Whether a resource is a GPU or a part of one, such as nvidia.com/gpu.shared or nvidia.com/mig-1g.10gb."""
    _, separator, kind = name.partition("/")
    return bool(separator) and kind.startswith(("gpu", "mig-"))
