"""The program in a serving Pod: vLLM on a GPU or a CPU, or the Transformers server of the trainer's image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from distillery_api.spec import Serving, ServingRuntime
from distillery_operator.manifests.container_resources import (
    grace_seconds,
    has_accelerator,
    memory,
    pre_stop_seconds,
)
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.manifests.vllm import (
    CPU_ENVIRONMENT,
    CPU_REQUESTS,
    cpu_cache_bytes,
    drain_seconds,
    vllm_command,
)
from distillery_operator.planning import names

MODELS_FOLDER = "/models"
GRACE_SECONDS = 60
PRE_STOP_SECONDS = 5

_REQUESTS = {"cpu": "250m", "memory": "1Gi"}


@dataclass(frozen=True)
class ModelServer:
    """A server and what it needs."""

    command: tuple[str, ...]
    image: str
    requests: Mapping[str, str] = field(default_factory=lambda: dict(_REQUESTS))
    """Compute resources to request if the user requests none."""
    environment: Mapping[str, str] = field(default_factory=dict)


def model_folder(name: str) -> str:
    """Where the student is mounted, under the name that clients know it by."""
    return f"{MODELS_FOLDER}/{name}"


def model_server(serving: Serving, name: str, precision: str, settings: ManifestSettings) -> ModelServer:
    """The server of the student `name` for `serving`, computing in `precision`, such as bfloat16, or auto."""
    if serving.runtime is ServingRuntime.TRANSFORMERS:
        return ModelServer(_transformers_command(name, precision), serving.image or settings.trainer_image)
    if has_accelerator(serving):
        return ModelServer(_vllm_command(serving, name, precision), serving.image or settings.vllm_image)
    cache = cpu_cache_bytes(memory(serving))
    return ModelServer(
        _vllm_command(serving, name, precision, cache),
        serving.image or settings.vllm_cpu_image,
        CPU_REQUESTS,
        CPU_ENVIRONMENT,
    )


def _transformers_command(name: str, precision: str) -> tuple[str, ...]:
    """This server names the model by the path as given: hence the working directory, and a folder of that name."""
    address = ("--host", "0.0.0.0", "--port", str(names.SERVING_PORT))  # noqa: S104 - a Service leads here
    return ("transformers", "serve", name, f"--dtype={precision}", *address)


def _vllm_command(serving: Serving, name: str, precision: str, cpu_cache: int | None = None) -> tuple[str, ...]:
    drain = drain_seconds(grace_seconds(serving, GRACE_SECONDS), pre_stop_seconds(serving, PRE_STOP_SECONDS))
    return vllm_command(
        model_folder(name), name, names.SERVING_PORT, precision=precision, drain_seconds=drain, cpu_cache=cpu_cache
    )
