"""One node with one GPU and a ReadWriteOnce volume: the next student is trained on the GPU of the one that serves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def replicas(distilled: Distilled) -> int:
    deployment = distilled.cluster.get("deployment", "small", distilled.namespace)
    return int(deployment["spec"]["replicas"])


def test_the_server_gives_its_gpu_to_the_training_and_takes_it_back_although_the_operator_dies(
    distilled: Distilled, start_operator: Callable[..., OperatorProcess]
) -> None:
    operator = start_operator()
    serving = {"runtime": "Transformers", **GPU}
    distilled.apply(small_spec(training=GPU, evaluation=GPU, serving=serving))
    served = distilled.wait_ready(120)["status"]["serving"]["modelPath"]

    distilled.patch({"training": {"seed": 7}})
    distilled.wait("Available", "False", reason="YieldedGPU")
    operator.kill()
    operator.start()
    status = distilled.wait_ready(120)["status"]
    assert status["serving"]["modelPath"] != served
    assert (replicas(distilled), distilled.stage("train")["attempts"]) == (1, 1)


def test_without_yielding_the_status_says_that_there_is_no_room_and_what_to_do(
    distilled: Distilled, start_operator: Callable[..., OperatorProcess]
) -> None:
    start_operator(DISTILLERY_UNSCHEDULABLE_DEADLINE="4s")
    serving = {"runtime": "Transformers", "yieldGPU": False, **GPU}
    distilled.apply(small_spec(training=GPU, evaluation=GPU, serving=serving))
    distilled.wait_ready(120)

    distilled.patch({"training": {"seed": 7}})
    distilled.wait("Stalled", reason="Unschedulable")
    assert "there is no room beside the served student; set serving.yieldGPU to true" in distilled.message()
    assert replicas(distilled) == 1

    # Scaled to zero by hand, the Job that required the server's node is replaced.
    distilled.patch({"serving": {"replicas": 0}})
    wait_until(lambda: distilled.conditions.get("Evaluated", ("",))[0] == "True", 90, "the evaluation")
    distilled.patch({"serving": {"replicas": 1}})
    distilled.wait_ready(90)
