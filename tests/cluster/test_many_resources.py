"""What many Distillations that come at once take of the API server and of memory: the limits are half above what was
measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api_proxy import ApiProxy
from control_plane import ControlPlane
from distillations import small_spec
from operator_process import NAME, OperatorProcess
from waiting import wait_until

MANY = 60
REQUESTS = 10.5
"""For each until it has its first Job; 7 are expected: of the status, its Event, the claim, the ConfigMap and the Job,
and two that ask for names in use."""
PEAK_MIB = 140
"""93 were measured."""
NOWHERE = {"podTemplate": {"spec": {"nodeSelector": {"example.com/no-node": "has-this"}}}}


def distillation(name: str) -> dict[str, Any]:
    """One whose first Pod no node takes."""
    spec = small_spec()
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": name},
        "spec": {**spec, "generation": {**spec["generation"], **NOWHERE}},
    }


def test_many_at_once_take_few_requests_and_little_memory(
    control_plane: ControlPlane, namespace: str, start_operator: Callable[..., OperatorProcess]
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("another cluster's API server may be farther away")
    with ApiProxy(control_plane.server, control_plane.certificates.authority) as proxy:
        operator = start_operator(kubeconfig=control_plane.kubeconfig_for(NAME, namespace, server=proxy.server))
        before = len(proxy.requests)
        control_plane.apply([distillation(f"many-{number}") for number in range(MANY)], namespace)
        wait_until(lambda: len(control_plane.get("jobs", namespace=namespace)["items"]) == MANY, 120, "the first Jobs")
        sent = [each for each in proxy.requests[before:] if is_of_one_resource(each)]

    assert len(sent) / MANY <= REQUESTS, "\n".join(sent)
    assert operator.peak_mib <= PEAK_MIB


def is_of_one_resource(request: str) -> bool:
    """Whether a request is neither a watch, nor a list, nor about the Lease."""
    return not any(part in request for part in ("/leases", "watch=true", "limit="))
