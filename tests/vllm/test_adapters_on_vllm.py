"""Adapters on vLLM: one is swapped for another while clients ask without a pause."""

import json
import os
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


def want(file: Path, adapter: Path) -> None:
    """Name the adapter to serve, as the kubelet does: all at once."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({NAME: str(adapter), "gpt-4o": str(adapter)}))
    os.replace(draft, file)


def served_adapters(server) -> dict[str, str]:
    models = server.get("/v1/models").json()["data"]
    return {model["id"]: model["root"] for model in models if model["parent"]}


def test_a_new_adapter_takes_over_without_a_failed_request(vllm, base, tmp_path):
    first, second = (write_adapter(base, tmp_path / f"train-{seed}", seed) for seed in (1, 2))
    file, hosts = tmp_path / "adapters.json", tmp_path / "hosts"
    hosts.write_text("127.0.0.1 student\n")
    want(file, first)
    names = {"modelNames": ["gpt-4o"]}
    with vllm_server(vllm, base, tmp_path / "log.txt", key=KEY, adapters=file, **names) as server:
        assert served_adapters(server) == {NAME: str(first), "gpt-4o": str(first)}
        before = server.ask("Say hello.", max_tokens=8)
        body = {"model": NAME, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
        port = int(server.address.rpartition(":")[2])
        with SteadyRequests(hosts, "student", port, body, headers={"Authorization": f"Bearer {KEY}"}) as clients:
            wait_until(lambda: clients.answered > 20, 60)
            want(file, second)
            wait_until(lambda: served_adapters(server) == {NAME: str(second), "gpt-4o": str(second)}, 60)
            answered = clients.answered
            want(file, tmp_path / "missing")
            wait_until(lambda: clients.answered > answered + 60, 60)
        after = server.ask("Say hello.", max_tokens=8)
        closed = [server.post(path, lora_name="x", lora_path=str(first)).status_code for path in CLOSED]
    assert clients.failures == []
    assert before != after
    assert closed == [404] * len(CLOSED)


CLOSED = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters")
