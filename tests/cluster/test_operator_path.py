"""The path of a resource through the operator, with scripted stages: every Kubernetes part of it is real."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

EVALUATION = {"sampleSize": 40, "teacher": {"score": 0.9}, "student": {"score": 0.85}}
ROWS = {"read": 12, "kept": 10, "rejected": 2, "rejectedByReason": {"Unreadable": 2}}
DONE = {
    "generate": [{"rows": ROWS, "usage": {"requests": 14, "inputTokens": 900, "outputTokens": 80}}],
    "evaluate": [{"evaluation": EVALUATION, "message": "student 0.85"}],
}
StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def test_one_manifest_becomes_a_served_and_measured_student(
    distilled: Distilled, start_operator: StartOperator, service_url: Callable[..., str]
) -> None:
    start_operator()
    distilled.apply(script=DONE)
    ready = distilled.wait_ready()

    status = ready["status"]
    assert status["observedGeneration"] == ready["metadata"]["generation"]
    assert [stage["attempts"] for stage in status["stages"]] == [1, 1, 1]
    assert status["evaluation"]["student"]["score"] == 0.85
    assert status["usage"] == {"requests": 14, "inputTokens": 900, "outputTokens": 80}
    assert distilled.conditions["Ready"] == ("True", "Serving")
    assert "Reconciling" not in distilled.conditions
    assert [len(distilled.jobs(stage)) for stage in ("generate", "train", "evaluate")] == [1, 1, 1]
    url = service_url(distilled.namespace, "small")
    reply = requests.post(f"{url}/v1/chat/completions", json={"model": "small", "messages": []}, timeout=10).json()
    assert reply["choices"][0]["message"]["content"] == "small says entailment"
