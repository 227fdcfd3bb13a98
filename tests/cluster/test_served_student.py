"""The served student in the cluster: what its Pods and its Service do for those who ask it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from cluster import Cluster, CommandFailed
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from steady_requests import SteadyRequests
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


def test_no_request_is_lost_in_a_swap_a_scale_down_and_a_drain(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator()
    shared = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}
    distilled.apply(small_spec(storage=shared, serving={"runtime": "Transformers", "replicas": 2}))
    first = distilled.wait_ready()["status"]["serving"]["modelPath"]
    host = f"small.{distilled.namespace}.svc"
    body = {"model": "small", "messages": []}

    def running(count: int) -> bool:
        pods = distilled.children("pods", "serving")
        statuses = [each for pod in pods for each in pod["status"].get("containerStatuses", ())]
        return len(pods) == count and all(each["ready"] for each in statuses)

    with SteadyRequests(scripted_node.hosts, host, 8000, body) as client:
        distilled.patch({"training": {"learningRate": 0.001}})
        wait_until(lambda: distilled.status["serving"]["modelPath"] != first, 90, "the swap to begin")
        distilled.wait_ready()
        wait_until(lambda: running(2), 60, "the old servers to go")

        # The disruption budget lets a drain take one of two, and the other once there are two again.
        before = {pod["metadata"]["name"] for pod in distilled.children("pods", "serving")}
        evict(distilled, min(before))
        with pytest.raises(CommandFailed, match="disruption budget"):
            evict(distilled, max(before))
        wait_until(lambda: running(2), 60, "two servers again")

        distilled.kubectl("scale", "distillation/small", "--replicas=1")
        wait_until(lambda: running(1), 60, "one server")

    assert client.failures == []
    assert client.answered > 100
    assert len(client.servers) >= 5


def evict(distilled: Distilled, pod: str) -> None:
    """What `kubectl drain` does to a Pod."""
    metadata = {"name": pod, "namespace": distilled.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{distilled.namespace}/pods/{pod}/eviction"
    distilled.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
