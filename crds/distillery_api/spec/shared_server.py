"""One server for the students of several Distillations: what the one that shares another's server may say of it."""

from __future__ import annotations

from typing import Any

from distillery_api.base import Rule, transition

_HOSTS = ("image", "resources", "podTemplate", "yieldGPU")
"""Fields of the server's Pods, which are the host's."""


def _says_nothing_of_pods(serving: Any) -> bool:
    fields = (serving.image, serving.resources, serving.pod_template, serving.yield_gpu)
    return all(field is None for field in fields) and not serving.runtime_args and serving.replicas == 1


_UNCHANGED = (
    "has(self.sharedServer) == has(oldSelf.sharedServer)"
    " && (!has(self.sharedServer) || self.sharedServer == oldSelf.sharedServer)"
)

SHARED_SERVER_RULES = (
    Rule(
        "!has(self.sharedServer) || (has(self.adapter) && self.adapter == 'LoRA')",
        "sharedServer: only students that are adapters can share a server; set adapter to LoRA",
        lambda serving: serving.shared_server is None or str(serving.adapter) == "LoRA",
    ),
    Rule(
        f"!has(self.sharedServer) || ({' && '.join(f'!has(self.{field})' for field in _HOSTS)}"
        " && (!has(self.runtimeArgs) || size(self.runtimeArgs) == 0) && self.replicas == 1)",
        "sharedServer: image, resources, podTemplate, replicas, runtimeArgs and yieldGPU are those of the shared"
        " server; set them in the Distillation that sharedServer names, and not here",
        lambda serving: serving.shared_server is None or _says_nothing_of_pods(serving),
    ),
    transition(
        _UNCHANGED,
        "sharedServer cannot be changed; delete this Distillation and apply it again: its finished stages are found in"
        " the claim, and are not paid again",
    ),
)
