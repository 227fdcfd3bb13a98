"""The program in a serving Pod: vLLM on a GPU or a CPU, or the Transformers server of the trainer's image."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from distillery_api.run_config import SERVER_API_KEY_VARIABLE
from distillery_api.runtime import baked_prompt, tool_call_parser
from distillery_api.spec import Serving, ServingRuntime
from distillery_operator.manifests import draining, served_adapters, served_paths
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.container_resources import (
    grace_seconds,
    has_accelerator,
    memory,
    pre_stop_seconds,
)
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.manifests.vllm import (
    ADAPTERS_ENVIRONMENT,
    API_KEY_VARIABLE,
    CPU_ENVIRONMENT,
    CPU_REQUESTS,
    ENVIRONMENT,
    cpu_cache_bytes,
    vllm_command,
    with_adapters,
    with_baked_prompt,
)
from distillery_operator.planning import names

MODELS_FOLDER = "/models"
STUDENT_PROMPT_FILE = "/student-prompt.txt"
"""Where the student prompt of the workspace is mounted, if it is baked in."""
ADAPTERS_FOLDER = "/etc/adapters"
"""Where the ConfigMap is mounted that names the adapters to load."""
ADAPTERS_FILE = "adapters.json"
GRACE_SECONDS = 60
PRE_STOP_SECONDS = 5

_SHUTDOWN_RESERVE_SECONDS = 5
_ENABLING_FLAG, _PARSER_FLAG = tool_call_parser.FLAGS
_REQUESTS = {"cpu": "250m", "memory": "1Gi"}


@dataclass(frozen=True)
class ModelServer:
    """A server and what it needs."""

    command: tuple[str, ...]
    image: str
    api_key_variable: str
    """Environment variable in which it expects the key of its clients, if they need one."""
    requests: Mapping[str, str] = field(default_factory=lambda: dict(_REQUESTS))
    """Compute resources to request where the user says nothing about them."""
    environment: Mapping[str, str] = field(default_factory=dict)
    pre_stop: Manifest = field(default_factory=lambda: {"sleep": {"seconds": PRE_STOP_SECONDS}})
    """What the container does before it is told to stop: requests keep arriving until every proxy knows that the Pod is
    terminating."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Sources of Python modules that the server imports, by name: its image does not have them."""


def model_folder(name: str) -> str:
    """Where the student is mounted, under the name that clients know it by."""
    return f"{MODELS_FOLDER}/{name}"


def model_server(
    serving: Serving,
    name: str,
    precision: str,
    settings: ManifestSettings,
    *,
    prompt_file: str = STUDENT_PROMPT_FILE,
    max_rank: int | None = None,
    calls_tools: bool = False,
) -> ModelServer:
    """The server of the student `name` for `serving`, computing in `precision`, such as bfloat16, or auto. A student
    prompt that is to be baked in lies in `prompt_file`. With `max_rank`, it serves the base model, and loads adapters
    up to this rank. Calls of a student that `calls_tools` reach clients apart from the text."""
    address = settings.listen_address
    if serving.runtime is ServingRuntime.TRANSFORMERS:
        command, image = (
            _transformers_command(serving, name, precision, address, prompt_file),
            serving.image or settings.trainer_image,
        )
        return ModelServer(command, image, SERVER_API_KEY_VARIABLE)
    on_cpu = not has_accelerator(serving)
    cache = cpu_cache_bytes(memory(serving)) if on_cpu else None
    command = _vllm_command(
        serving, name, precision, address, prompt_file=prompt_file, cpu_cache=cache, max_rank=max_rank
    )
    finds_parser = calls_tools and _PARSER_FLAG not in _flags(serving)
    if calls_tools:
        command = _with_tools(command, serving, model_folder(names.base_model_name(name) if max_rank else name))
    server = ModelServer(
        command,
        serving.image or (settings.vllm_cpu_image if on_cpu else settings.vllm_image),
        API_KEY_VARIABLE,
        environment={**ENVIRONMENT, **(_adapters_environment() if max_rank else {})},
        pre_stop={"exec": {"command": list(draining.drain_command(PRE_STOP_SECONDS))}},
        modules=_vllm_modules(serving.bake_prompt, loads_adapters=max_rank is not None, finds_parser=finds_parser),
    )
    if not on_cpu:
        return server
    return replace(server, requests=CPU_REQUESTS, environment={**CPU_ENVIRONMENT, **server.environment})


def student_names(serving: Serving, name: str) -> tuple[str, ...]:
    """All names of the student, each once."""
    return tuple(dict.fromkeys((name, *serving.model_names)))


@cache
def _vllm_modules(bakes_prompt: bool, *, loads_adapters: bool, finds_parser: bool) -> Mapping[str, str]:
    """The modules of ours in vLLM's Pods; read once, not in every reconciliation."""
    modules = [
        served_paths,
        draining,
        *([baked_prompt] if bakes_prompt else []),
        *([served_adapters] if loads_adapters else []),
        *([tool_call_parser] if finds_parser else []),
    ]
    return {module.__name__.rpartition(".")[2]: inspect.getsource(module) for module in modules}


def _flags(serving: Serving) -> tuple[str, ...]:
    """The options that the user adds."""
    return tuple(argument.partition("=")[0].replace("_", "-") for argument in serving.runtime_args)


def _with_tools(command: tuple[str, ...], serving: Serving, folder: str) -> tuple[str, ...]:
    """`command` with a parser of calls: the user's own, else the one that suits the chat template in `folder`."""
    if _PARSER_FLAG not in _flags(serving):
        return ("python3", "-m", "tool_call_parser", folder, *command)
    return command if _ENABLING_FLAG in _flags(serving) else (*command, _ENABLING_FLAG)


def _adapters_environment() -> dict[str, str]:
    return {**ADAPTERS_ENVIRONMENT, served_adapters.FILE_VARIABLE: f"{ADAPTERS_FOLDER}/{ADAPTERS_FILE}"}


def _transformers_command(
    serving: Serving, name: str, precision: str, address: str, prompt_file: str
) -> tuple[str, ...]:
    return (
        *("python", "-m", "distillery_trainer.serving", f"--model={model_folder(name)}", f"--name={name}"),
        *(f"--also-named={other}" for other in student_names(serving, name)[1:]),
        *(f"--dtype={precision}", f"--host={address}", f"--port={names.SERVING_PORT}"),
        f"--shutdown-timeout={_drain_seconds(serving)}",
        *((f"--student-prompt={prompt_file}",) if serving.bake_prompt else ()),
    )


def _vllm_command(
    serving: Serving,
    name: str,
    precision: str,
    address: str,
    *,
    prompt_file: str,
    cpu_cache: int | None,
    max_rank: int | None,
) -> tuple[str, ...]:
    of_student, base = student_names(serving, name), names.base_model_name(name)
    command = vllm_command(
        model_folder(base if max_rank else name),
        (base,) if max_rank else of_student,
        names.SERVING_PORT,
        address=address,
        precision=precision,
        drain_seconds=_drain_seconds(serving),
        cpu_cache=cpu_cache,
    )
    if serving.bake_prompt:
        command = with_baked_prompt(command, model_folder(name), prompt_file)
    if max_rank:
        command = with_adapters(command, max_rank)
    return (*command, *serving.runtime_args)


def _drain_seconds(serving: Serving) -> int:
    """How long requests in flight may take after SIGTERM: the grace period, which begins with the preStop sleep, less a
    reserve for the end of the process."""
    grace, pre_stop = grace_seconds(serving, GRACE_SECONDS), pre_stop_seconds(serving, PRE_STOP_SECONDS)
    return max(0, grace - pre_stop - _SHUTDOWN_RESERVE_SECONDS)
