"""vLLM on a CPU, in an environment of its own, with the small real student."""

import os
from pathlib import Path

import pytest

from small_student import small_student
from vllm_server import VllmServer, vllm_server


@pytest.fixture(scope="session")
def vllm() -> Path:
    """The folder of vLLM's programs. `make test-vllm` installs it and names it."""
    environment = os.environ.get("VLLM_ENVIRONMENT")
    if environment is None:
        pytest.fail("run `make test-vllm`, which installs vLLM first")
    return Path(environment).resolve() / "bin"


@pytest.fixture(scope="session")
def student() -> Path:
    """The folder of the served student."""
    return small_student()


@pytest.fixture(scope="module")
def server(vllm, student, tmp_path_factory) -> VllmServer:
    """A server, started as in a Pod."""
    with vllm_server(vllm, student, tmp_path_factory.mktemp("vllm") / "log.txt") as running:
        yield running
