"""Adapters on vLLM: one is swapped for another while clients ask without a pause, and many answer side by side."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from steady_requests import SteadyRequests
from tiny_model import read_model, write_tiny_model
from vllm_server import NAME, vllm_server
from waiting import wait_until

KEY = "sk-of-clients"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A base model that vLLM computes fast enough for 20 requests a second on a CPU."""
    return write_tiny_model(tmp_path_factory.mktemp("base") / "model", head_dim=64)


def write_adapter(base: Path, folder: Path, seed: int) -> Path:
    """An adapter of random weights."""
    torch.manual_seed(seed)
    lora = LoraConfig(r=8, lora_alpha=128, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(read_model(base), lora).save_pretrained(folder)
    return folder


def want(file: Path, **adapters: Path) -> None:
    """Name the adapters to serve, as the kubelet does: all at once."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({name: str(folder) for name, folder in adapters.items()}))
    os.replace(draft, file)


def served_adapters(server) -> dict[str, str]:
    models = server.get("/v1/models").json()["data"]
    return {model["id"]: model["root"] for model in models if model["parent"]}


@pytest.fixture(scope="module")
def first(base, tmp_path_factory) -> Path:
    return write_adapter(base, tmp_path_factory.mktemp("first") / "train-first", 100)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The file with the adapters to serve."""
    return tmp_path_factory.mktemp("adapters") / "adapters.json"


@pytest.fixture(scope="module")
def server(vllm, base, first, file, tmp_path_factory):
    """A server, started while the adapter of another student than its own cannot be loaded."""
    want(file, **{NAME: first, "damaged": first.parent / "missing"})
    log = tmp_path_factory.mktemp("vllm") / "log.txt"
    with vllm_server(vllm, base, log, key=KEY, adapters=file, modelNames=["gpt-4o"]) as running:
        yield running


def test_a_new_adapter_takes_over_without_a_failed_request(server, base, first, file, tmp_path):
    second, hosts = write_adapter(base, tmp_path / "train-second", 101), tmp_path / "hosts"
    hosts.write_text("127.0.0.1 student\n")
    want(file, **{NAME: first, "gpt-4o": first})
    wait_until(lambda: served_adapters(server) == {NAME: str(first), "gpt-4o": str(first)}, 60)
    before = server.ask("Say hello.", max_tokens=8)
    body = {"model": NAME, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    port = int(server.address.rpartition(":")[2])
    with SteadyRequests(hosts, "student", port, body, headers={"Authorization": f"Bearer {KEY}"}) as clients:
        wait_until(lambda: clients.answered > 20, 60)
        want(file, **{NAME: second, "gpt-4o": second})
        wait_until(lambda: served_adapters(server) == {NAME: str(second), "gpt-4o": str(second)}, 60)
        answered = clients.answered
        want(file, **{NAME: tmp_path / "missing"})
        wait_until(lambda: clients.answered > answered + 60, 60)
    after = server.ask("Say hello.", max_tokens=8)
    closed = [server.post(path, lora_name="x", lora_path=str(first)).status_code for path in CLOSED]
    assert clients.failures == []
    assert before != after
    assert closed == [404] * len(CLOSED)


CLOSED = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters")
STUDENTS = (NAME, *(f"skill-{number}" for number in range(14)))


def test_fifteen_students_on_one_server_answer_at_once_as_each_does_alone(server, base, file, tmp_path):
    folders = {name: write_adapter(base, tmp_path / f"train-{name}", seed) for seed, name in enumerate(STUDENTS)}
    want(file, **folders)
    wanted = {name: str(folder) for name, folder in folders.items()}
    wait_until(lambda: served_adapters(server) == wanted, 60)

    def reply(name: str) -> str:
        return server.ask("Say hello.", model=name, max_tokens=12)

    alone = {name: reply(name) for name in STUDENTS}
    with ThreadPoolExecutor(len(STUDENTS)) as clients:
        together = list(clients.map(reply, [name for name in STUDENTS for _ in range(4)]))
    assert together == [alone[name] for name in STUDENTS for _ in range(4)]
    assert len(set(alone.values())) == len(STUDENTS), "each has weights of its own"
