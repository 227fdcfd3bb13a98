"""The route from outside the cluster, on a cluster that learns of the Gateway API later."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from gateway_api import accept, gateway_api
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

StartOperator = Callable[..., OperatorProcess]

HTTP_ROUTE: dict[str, Any] = {
    "kind": "HTTPRoute",
    "hostnames": ["student.example.com"],
    "parentRefs": [{"name": "public", "namespace": "gateways"}],
    "access": "Open",
    "requestTimeout": "5m",
}
NOTHING_OF_A_GATEWAY = {"parentRefs": None, "requestTimeout": None}


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def route(distilled: Distilled) -> dict[str, Any]:
    found: dict[str, Any] = distilled.status.get("serving", {}).get("route", {})
    return found


def rules(distilled: Distilled, kind: str) -> list[Any]:
    found = distilled.children(kind)
    return list(found[0]["spec"]["rules"]) if found else []


def test_a_route_is_made_as_soon_as_the_cluster_serves_its_kind_and_then_looked_after(
    distilled: Distilled, start_operator: StartOperator, control_plane: Cluster
) -> None:
    operator = start_operator(DISTILLERY_LEASE_DURATION="15s", DISTILLERY_LEASE_RENEW_DEADLINE="10s")
    distilled.apply(small_spec(serving={"runtime": "Transformers", "route": HTTP_ROUTE}))
    distilled.wait("Stalled", reason="InvalidSpec")
    assert distilled.conditions["Available"] == ("True", "Serving")
    assert "the cluster does not serve httproutes of gateway.networking.k8s.io/v1" in distilled.message()
    assert "try creating their CRDs" not in operator.log

    with gateway_api(control_plane):
        distilled.kubectl("annotate", "distillation", "small", "distillery.dev/retry-at=now")
        distilled.wait_ready()
        assert distilled.status["serving"]["externalURLs"] == ["https://student.example.com/v1"]
        wait_until(lambda: "no controller has answered yet" in route(distilled).get("message", ""), 30)

        accept(control_plane, distilled.namespace, "small")
        wait_until(lambda: route(distilled).get("accepted"), 30, "the Gateway's answer in the status")
        before = rules(distilled, "httproutes")
        by_hand = [{"backendRefs": [{"name": "small", "port": 8000}]}]
        distilled.kubectl("patch", "httproute", "small", "--type=merge", "-p", json.dumps({"spec": {"rules": by_hand}}))
        wait_until(lambda: rules(distilled, "httproutes") == before, 30, "the rules to be repaired")

        distilled.patch({"serving": {"route": {"kind": "Ingress", **NOTHING_OF_A_GATEWAY}}})
        wait_until(lambda: rules(distilled, "ingresses") and not distilled.children("httproutes"), 30, "the Ingress")
        wait_until(lambda: distilled.status["serving"].get("externalURLs") == ["http://student.example.com/v1"], 30)
        distilled.kubectl("delete", "ingress", "small")
        wait_until(lambda: rules(distilled, "ingresses"), 30, "the Ingress, a second time")
        distilled.patch({"serving": {"route": None}})
        wait_until(lambda: not distilled.children("ingresses"), 30, "the Ingress to go")
        distilled.wait_ready()
        operator.terminate()
