"""How vLLM is started, so that it serves what was measured: the same sampling, the same arithmetic."""

from __future__ import annotations

ENVIRONMENT = {
    # Longer than any usual client or proxy keeps an idle connection (Envoy: an hour), so that it is the client's to
    # close: vLLM may close one over a request that has just arrived, and does after five seconds by default.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "3900",
}
"""Variables of every server."""
CPU_REQUESTS = {"cpu": "1", "memory": "4Gi"}
"""Compute resources to request for a server on a CPU where the user says nothing about them."""
CPU_ENVIRONMENT = {
    # By default, each thread is bound to a processor of the node, and all Pods choose the same ones.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Variables of a server on a CPU."""

API_KEY_VARIABLE = "VLLM_API_KEY"
"""Variable with the key of all clients. On the command line, whoever may read Pods would read it."""

ADAPTERS_ENVIRONMENT = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
"""Variables of a server of adapters."""

MOST_ADAPTERS = 16
"""So many adapters can be in one batch: requests for a further one would wait until one of these is asked nothing. Room
for all is taken at the start, so that no Pod is replaced for a student that joins. (Of a model with 8 billion
parameters, each takes 42 MB at rank 8.)"""

_BAKED_TEMPLATE = "/tmp/chat_template.jinja"  # noqa: S108 - a volume of the Pod's own
_QUIET_PATHS = "/health,/metrics"
_GREEDY = '{"temperature":0}'
_MEBIBYTE = 1024**2
_DEFAULT_MEMORY = 4096 * _MEBIBYTE
_SMALLEST_CACHE = 256 * _MEBIBYTE


def vllm_command(
    model_folder: str,
    served_names: tuple[str, ...],
    port: int,
    *,
    address: str = "0.0.0.0",  # noqa: S104 - a Service leads there
    precision: str,
    drain_seconds: int,
    cpu_cache: int | None = None,
) -> tuple[str, ...]:
    """The command that serves the model in `model_folder` under `served_names`, at `address` and `port`.

    `precision` is the arithmetic's name, such as bfloat16, or auto; `drain_seconds` is how long requests in flight may
    take after a stop request; `cpu_cache` is the size of the key-value cache in bytes on a CPU, None on a GPU.
    """
    return (
        *("vllm", "serve", model_folder, "--served-model-name", *served_names),
        *("--host", address, "--port", str(port)),
        # By default, a student saved in float32 is served in bfloat16.
        f"--dtype={precision}",
        # vLLM ignores the saved `do_sample: false` and samples at temperature 1. A request's own temperature counts.
        *("--override-generation-config", _GREEDY),
        # As much of the student's context as fits into the memory; by default, all of it or no start.
        *("--max-model-len", "auto"),
        # Contents as they were in training. vLLM guesses this from loops in the chat template, and then hands texts as
        # lists of parts to a family's own template behind ours, which may not know them.
        "--chat-template-content-format=string",
        # No format that can hold code.
        *("--load-format", "safetensors"),
        # By default, requests in flight are aborted.
        *("--shutdown-timeout", str(drain_seconds)),
        *("--disable-access-log-for-endpoints", _QUIET_PATHS),
        "--disable-fastapi-docs",
        *("--middleware", "served_paths.ServedPaths", "--middleware", "draining.ClosingConnections"),
        *_cpu_flags(cpu_cache),
    )


def with_adapters(command: tuple[str, ...], max_rank: int) -> tuple[str, ...]:
    """`command` for adapters up to that rank."""
    adapters = ("--enable-lora", "--max-lora-rank", str(max_rank), "--max-loras", str(MOST_ADAPTERS))
    # Inside the other middleware, which is named after it: no client reaches what this one asks vLLM.
    position = command.index("--middleware")
    middleware = ("--middleware", "served_adapters.ServedAdapters")
    return (*command[:position], *middleware, *command[position:], *adapters)


def with_baked_prompt(command: tuple[str, ...], model_folder: str, student_prompt: str) -> tuple[str, ...]:
    """`command` with a chat template that the module baked_prompt writes first, with the prompt in the file
    `student_prompt` in it."""
    writes_template = ("python3", "-m", "baked_prompt", model_folder, student_prompt, _BAKED_TEMPLATE)
    return (*writes_template, *command, "--chat-template", _BAKED_TEMPLATE)


def _cpu_flags(cache: int | None) -> tuple[str, ...]:
    """By default, the model is compiled for minutes, and the cache takes nearly all memory of the node."""
    return () if cache is None else ("--enforce-eager", "--kv-cache-memory-bytes", str(cache))


def cpu_cache_bytes(memory: int | None) -> int:
    """The size of the key-value cache on a CPU: a quarter of the container's memory (bytes; None: the default). The
    rest is for the weights and the libraries."""
    return max(_SMALLEST_CACHE, (memory or _DEFAULT_MEMORY) // 4)
