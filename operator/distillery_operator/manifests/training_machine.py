"""What the train stage's Pod will have, as far as its resources and its node constraints say. Nodes are not read, which
would need rights in the whole cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from distillery_api.spec import StageOptions
from distillery_api.training_memory import TrainingMachine
from distillery_operator.manifests.container_resources import device_count, devices, has_accelerator, memory
from distillery_operator.manifests.quantities import amount

_MIB, _GIB = 2**20, 2**30
_MEMORY_LABELS = ("nvidia.com/gpu.memory", "karpenter.k8s.aws/instance-gpu-memory")
"""Labels of nodes with the memory of a GPU, in MiB."""
_PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "gpu.nvidia.com/class",
)
_STATED = re.compile(r"(\d+)gb", re.IGNORECASE)
"""In the names of products and of parts of a GPU, such as NVIDIA-A100-SXM4-80GB and nvidia.com/mig-3g.40gb."""
_PRODUCTS = {
    "t4": 16, "l4": 24, "a10": 24, "a10g": 24, "p100": 16, "v100": 16, "a30": 24, "a40": 48, "l40": 48, "l40s": 48,
    "a100": 40, "h100": 80, "h200": 141, "b200": 180, "4090": 24, "3090": 24, "a6000": 48,
}  # fmt: skip
"""Memory in GiB of products that do not state it in their name; of several sizes, the least."""


def training_machine(options: StageOptions, default_memory: str) -> TrainingMachine:
    """What a Pod with these options has; `default_memory` is its limit where they do not say."""
    if has_accelerator(options):
        return TrainingMachine(gpus=max(1, device_count(options)), gpu_memory=_gpu_memory(options))
    return TrainingMachine(memory=memory(options) or int(amount(default_memory) or 0))


def _gpu_memory(options: StageOptions) -> int | None:
    """Bytes of one GPU; None where nothing says it."""
    parts = (_of_product(name) for name in devices(options) if "mig-" in name)
    found = next((size for size in parts if size), None)
    return found or _of_labels(dict(_required_labels(options)))


def _of_labels(labels: Mapping[str, str]) -> int | None:
    for name in _MEMORY_LABELS:
        if labels.get(name, "").isdecimal():
            return int(labels[name]) * _MIB
    products = (_of_product(labels[name]) for name in _PRODUCT_LABELS if name in labels)
    return next((size for size in products if size), None)


def _of_product(name: str) -> int | None:
    if stated := _STATED.search(name):
        return int(stated[1]) * _GIB
    words = re.split(r"[-_. ]", name.lower())
    return next((_PRODUCTS[word] * _GIB for word in words if word in _PRODUCTS), None)


def _required_labels(options: StageOptions) -> Iterator[tuple[str, str]]:
    """The labels that a node must have; of several allowed values none is known."""
    template = options.pod_template.to_manifest() if options.pod_template else {}
    spec = _mapping(template.get("spec"))
    yield from ((str(name), str(value)) for name, value in _mapping(spec.get("nodeSelector")).items())
    affinity = _mapping(_mapping(spec.get("affinity")).get("nodeAffinity"))
    terms = _list(_mapping(affinity.get("requiredDuringSchedulingIgnoredDuringExecution")).get("nodeSelectorTerms"))
    if len(terms) != 1:
        return
    for expression in _list(_mapping(terms[0]).get("matchExpressions")):
        rule = _mapping(expression)
        values = _list(rule.get("values"))
        if rule.get("operator") == "In" and len(values) == 1:
            yield str(rule.get("key")), str(values[0])


def _mapping(value: Any) -> Mapping[str, Any]:
    """What a user's Pod template has there, which nobody has checked."""
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
