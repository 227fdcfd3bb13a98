"""How little the operator asks of the API server, in requests: its watches and its Lease apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from api_proxy import ApiProxy
from cluster import Cluster
from control_plane import ControlPlane
from distillations import Distilled
from distillery_operator.cluster.object_cache import OPTIONAL_KINDS, REQUIRED_KINDS
from operator_process import NAME, OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

StartOperator = Callable[..., OperatorProcess]

RESYNC_SECONDS = 3
WHOLE_RUN = 40
"""Requests, with the patches by which finished Jobs get a time to live; 37 are expected."""
UNTIL_FIRST_JOB = 18
"""Requests of the first of its kind; 12 are expected. Of the dry runs, others like it need none."""


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane.server, control_plane.certificates.authority) as started:
        yield started


@pytest.fixture
def start_counted(
    distilled: Distilled, start_operator: StartOperator, proxy: ApiProxy, control_plane: Cluster
) -> StartOperator:
    """Start an operator whose requests are counted."""
    kubeconfig = control_plane.kubeconfig_for(NAME, distilled.namespace, server=proxy.server)
    return lambda **settings: start_operator(kubeconfig=kubeconfig, **settings)


def counted(proxy: ApiProxy, since: int = 0) -> list[str]:
    """The requests since then that are about single resources: neither a watch, nor a list, nor about the Lease."""
    requests = proxy.requests[since:]
    return [each for each in requests if not any(part in each for part in ("/leases", "watch=true", "limit="))]


def reconciliations(operator: OperatorProcess) -> float:
    return operator.metric("distillery_reconcile_seconds_count", outcome="ok") or 0


def all_expire(distilled: Distilled) -> bool:
    return all("ttlSecondsAfterFinished" in job["spec"] for job in distilled.children("jobs"))


def test_a_whole_run_takes_few_requests(distilled: Distilled, start_counted: StartOperator, proxy: ApiProxy) -> None:
    start_counted(DISTILLERY_PROGRESS_INTERVAL="30s")
    watches = len(REQUIRED_KINDS) + len(OPTIONAL_KINDS) - 1  # The cluster serves no HTTPRoutes.
    wait_until(lambda: sum("watch=true" in each for each in proxy.requests) == watches, 60, "all watches")
    before = len(proxy.requests)
    distilled.apply()
    distilled.wait_ready()
    wait_until(lambda: distilled.events()[-1]["reason"] == "Serving", 30, "the last Event")
    wait_until(lambda: all_expire(distilled), 30, "a time to live of each Job")

    requests = counted(proxy, before)
    first_job = next(number for number, each in enumerate(requests, 1) if each.startswith("POST") and "/jobs" in each)
    assert first_job <= UNTIL_FIRST_JOB, "\n".join(requests)
    assert len(requests) <= WHOLE_RUN, "\n".join(requests)


def test_a_ready_resource_is_looked_after_without_a_request(
    distilled: Distilled, start_counted: StartOperator, proxy: ApiProxy
) -> None:
    operator = start_counted(DISTILLERY_RESYNC=f"{RESYNC_SECONDS}s")
    distilled.apply()
    distilled.wait_ready()

    wait_until(lambda: distilled.events()[-1]["reason"] == "Serving", 30, "the last Event")
    wait_until(lambda: all_expire(distilled), 60, "a time to live of each Job")

    def requests_of_three_resyncs() -> list[str]:
        """The requests of 12 seconds: a few reconciliations that follow Events would pass for resyncs."""
        before, reconciled = len(proxy.requests), reconciliations(operator)
        time.sleep(4 * RESYNC_SECONDS)
        assert reconciliations(operator) >= reconciled + 3
        return counted(proxy, before)

    wait_until(lambda: not requests_of_three_resyncs(), 90, "what follows the run to be done")
    assert requests_of_three_resyncs() == []


def test_a_restarted_operator_writes_nothing_to_what_is_as_it_should_be(
    distilled: Distilled, start_counted: StartOperator, proxy: ApiProxy
) -> None:
    operator = start_counted()
    distilled.apply()
    distilled.wait_ready()
    wait_until(lambda: distilled.events()[-1]["reason"] == "Serving", 30, "the last Event")
    wait_until(lambda: all_expire(distilled), 60, "a time to live of each Job")
    operator.terminate()
    before = len(proxy.requests)
    operator.start()
    operator.wait_until_leading()

    wait_until(lambda: reconciliations(operator) >= 1, 30, "a look at it")
    time.sleep(RESYNC_SECONDS)
    assert [each for each in counted(proxy, before) if not each.startswith("GET ")] == []


def test_what_is_deleted_by_hand_is_back_at_once(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.apply(script={"train": [{"waits": True}]})
    wait_until(lambda: distilled.children("pods", "train"), 40, "training")
    config_map = distilled.children("configmaps", "train")[0]
    distilled.kubectl("delete", "configmap", config_map["metadata"]["name"])
    restored = wait_until(lambda: distilled.children("configmaps", "train"), 30, "the ConfigMap")[0]
    assert restored["data"] == config_map["data"]
    assert restored["metadata"]["uid"] != config_map["metadata"]["uid"]


def test_a_deleted_service_is_back_and_until_then_nothing_is_said_to_answer(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    operator = start_operator()
    distilled.apply()
    ready = distilled.wait_ready()
    operator.terminate()
    distilled.kubectl("delete", "service", "small")
    operator.start()
    operator.wait_until_leading()

    wait_until(lambda: distilled.children("services"), 30, "the Service")
    wait_until(lambda: distilled.get()["metadata"]["resourceVersion"] != ready["metadata"]["resourceVersion"], 30)
    distilled.wait_ready()
    distilled.kubectl("delete", "service", "small")
    wait_until(lambda: distilled.children("services"), 30, "the Service, a second time")
    distilled.wait_ready()
