"""The real trainer under the operator: a tiny model, the stand-in teacher over HTTP, and an answer from the student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from cluster import Cluster
from distillations import Distilled
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from real_inputs import TEACHER_KEY, real_spec, write_inputs

CLAIM = "workspace"


@pytest.fixture
def workspace(control_plane: Cluster, namespace: str, node: ProcessNode) -> Path:
    """The folder of a claim, with rows and a model in it."""
    write_inputs(control_plane, node, namespace, CLAIM, {"train": 24, "validation": 6, "test": 12})
    return node.volume(namespace, CLAIM)


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
    distilled.apply(real_spec(teacher, storage={"claimName": CLAIM}))
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
    assert TEACHER_KEY not in str(distilled.get()) + str(distilled.children("configmaps"))

    request = {"model": "small", "messages": [{"role": "user", "content": "Which label?"}], "max_tokens": 4}
    url = service_url(namespace, "small")
    reply = requests.post(f"{url}/v1/chat/completions", json=request, timeout=120).json()
    assert reply["choices"][0]["message"]["role"] == "assistant"
    assert reply["model"].startswith("small")
