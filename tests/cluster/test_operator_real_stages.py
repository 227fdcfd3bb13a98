"""The real trainer under the operator: a tiny model, the stand-in teacher over HTTP, and an answer from the student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from cluster import Cluster
from conjunctions import make_pairs, write_rows
from distillations import Distilled, Manifest
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from server_process import server_process

TEACHER = "examples/quickstart/standin_teacher.py"
CLAIM = "workspace"
KEY = "s3cret"
ROWS = {"train": 24, "validation": 6, "test": 12}


@pytest.fixture
def teacher(tmp_path: Path) -> Iterator[str]:
    options = ("--calm", "--latency", "0", "--wrong", "0", "--key", KEY)
    with server_process(TEACHER, tmp_path / "port", *options) as url:
        yield url


@pytest.fixture
def workspace(control_plane: Cluster, namespace: str, node: ProcessNode) -> Path:
    """The folder of a claim, with rows and a model in it."""
    from tiny_model import write_tiny_model

    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    control_plane.apply(claim, namespace)
    folder = node.volume(namespace, CLAIM)
    (folder / "rows").mkdir(parents=True)
    write_rows(folder / "rows", {split: make_pairs(split, count, 7) for split, count in ROWS.items()})
    write_tiny_model(folder / "tiny")
    return folder


def real_spec(teacher: str) -> Manifest:
    """What the quickstart's manifest says, on the workspace's own rows and model."""
    big = {"name": "standin", "endpoint": teacher, "model": "standin-teacher", "apiKey": {"secretName": "teacher"}}
    sources = {split: {"uri": f"rows/{split}.jsonl"} for split in ROWS}
    return {
        "task": "NLI",
        "data": sources,
        "generation": {"teachers": [big], "chainOfThought": True, "minRows": 1},
        "student": {"model": {"uri": "tiny"}},
        "training": {"preset": "Azure", "maxLength": 512, "batchSize": 8, "lora": {"rank": 4, "alpha": 8}},
        "serving": {"runtime": "Transformers"},
        "storage": {"claimName": CLAIM},
    }


@pytest.mark.slow
def test_rows_become_a_student_that_answers_through_its_service(
    control_plane: Cluster,
    namespace: str,
    workspace: Path,
    teacher: str,
    start_operator: Callable[..., OperatorProcess],
    service_url: Callable[..., str],
) -> None:
    # A stage that fails is to fail the test, not to run again.
    start_operator(DISTILLERY_TRAINER_IMAGE="distillery-trainer:test", DISTILLERY_RETRY_DEADLINE="1ms")
    distilled = Distilled(control_plane, namespace)
    distilled.kubectl("create", "secret", "generic", "teacher", f"--from-literal=api-key={KEY}")
    distilled.apply(real_spec(teacher))
    status = distilled.wait_while_well("Ready", 300)["status"]

    generate, train, _, verify = status["stages"]
    assert (generate["rows"]["read"], generate["rows"]["kept"]) == (42, 42)
    assert status["usage"]["requests"] == 42
    assert train["training"]["steps"] == 3
    table = status["evaluation"]
    assert (table["sampleSize"], table["teacher"]["score"]) == (12, 1.0)
    assert {"student", "base", "baseTeacherPrompt", "majority", "shallow"} < table.keys()
    assert (workspace / status["serving"]["modelPath"] / "model.safetensors").exists()
    # The server answers over HTTP, under the Service's name, what the model answered in the evaluate stage.
    verification = verify["verification"]
    assert (verification["rows"], verification["alike"], verification["calls"]) == (12, 12, 20)
    assert table["student"]["latencySeconds"] == verification["latencySeconds"]
    assert KEY not in str(distilled.get()) + str(distilled.children("configmaps"))

    request = {"model": "small", "messages": [{"role": "user", "content": "Which label?"}], "max_tokens": 4}
    url = service_url(namespace, "small")
    reply = requests.post(f"{url}/v1/chat/completions", json=request, timeout=120).json()
    assert reply["choices"][0]["message"]["role"] == "assistant"
    assert reply["model"].startswith("small")
