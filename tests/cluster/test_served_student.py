"""The served student in the cluster: what its Pods and its Service do for those who ask it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def serving(**container: Any) -> dict[str, Any]:
    """The field of a spec, with changes of the server's container."""
    template = {"spec": {"containers": [{"name": "stage", **container}]}}
    return {"runtime": "Transformers", "podTemplate": template}


def test_a_server_that_hangs_is_started_again(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator()
    soon = {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 1, "terminationGracePeriodSeconds": 1}
    distilled.apply(small_spec(serving=serving(livenessProbe=soon)))
    distilled.wait_ready()
    [pod] = distilled.children("pods", "serving")

    scripted_node.kill(f"{distilled.namespace}/{pod['metadata']['name']}", signal.SIGSTOP)

    def started_again() -> bool:
        [now] = distilled.children("pods", "serving")
        [container] = now["status"]["containerStatuses"]
        same_pod = now["metadata"]["uid"] == pod["metadata"]["uid"]
        return same_pod and container["restartCount"] == 1 and bool(container["ready"])

    wait_until(started_again, 40, "the server to run again")
    distilled.wait_ready()
