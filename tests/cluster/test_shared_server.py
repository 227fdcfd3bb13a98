"""Two Distillations on one server, each as an adapter, on the real control plane."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.request import Request, urlopen

import pytest

from cluster import Cluster, CommandFailed
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

HOST = {"runtime": "VLLM", "adapter": "LoRA", "image": "distillery-trainer:scripted"}
GUEST = {"adapter": "LoRA", "sharedServer": "host", "modelNames": ["gpt-4o"]}


def adapter(distilled: Distilled) -> str:
    return f"/adapters/train-{distilled.stage('train')['inputHash']}"


def loaded(host: Distilled) -> dict[str, str]:
    """What the host's Pods are to load."""
    config_map = host.cluster.get("configmap", "host-adapters", host.namespace)
    found: dict[str, str] = json.loads(config_map["data"]["adapters.json"])
    return found


def answer(distilled: Distilled, model: str) -> str:
    """Which adapter answers a request for that model through the Distillation's Service."""
    url = distilled.cluster.service_url(distilled.namespace, distilled.name)
    body = json.dumps({"model": model, "messages": []}).encode()
    with urlopen(Request(f"{url}/v1/chat/completions", body), timeout=5) as response:
        return str(json.load(response)["model"])


def test_a_guest_joins_its_host_swaps_its_student_and_goes_and_no_pod_is_replaced_for_it(
    control_plane: Cluster, namespace: str, scripted_node: ProcessNode, start_operator: Callable[..., OperatorProcess]
) -> None:
    host, guest = (Distilled(control_plane, namespace, name) for name in ("host", "guest"))
    start_operator()
    host.apply(small_spec(serving=HOST))
    claim = wait_until(lambda: host.status.get("workspaceClaim"), 40, "the claim")
    guest.apply(small_spec(serving=GUEST, training={"seed": 7}, storage={"claimName": claim}))
    host.wait_ready()
    guest.wait_ready()
    first = adapter(guest)
    assert loaded(host) == {"host": adapter(host), "guest": first, "gpt-4o": first}
    wait_until(lambda: host.status["serving"].get("guests") == ["guest"], 20, "the host to name its guest")
    assert (guest.children("deployments"), guest.status["serving"]["sharedServer"]) == ([], "host")
    generation = control_plane.get("deployment", "host", namespace)["metadata"]["generation"]
    with pytest.raises(CommandFailed, match="replicas, runtimeArgs and yieldGPU are those of the shared server"):
        guest.kubectl("scale", "distillation/guest", "--replicas=3")

    # This node, unlike a kubelet, brings a changed ConfigMap to the Pods that start after it.
    host.kubectl("delete", "pods", "-l", "distillery.dev/name=host,app.kubernetes.io/component=serving")
    assert (answer(host, "host"), answer(guest, "gpt-4o")) == (adapter(host), first)

    guest.patch({"training": {"seed": 8}})
    wait_until(lambda: loaded(host)["guest"] not in (first, adapter(host)), 40, "the next student")
    guest.wait_ready()
    assert loaded(host)["gpt-4o"] == adapter(guest) != first

    guest.delete()
    wait_until(lambda: loaded(host) == {"host": adapter(host)}, 20, "the host to drop its guest")
    host.wait_ready()
    assert control_plane.get("deployment", "host", namespace)["metadata"]["generation"] == generation
