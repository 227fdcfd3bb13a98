"""An operator that dies, is cut off or is doubled: nothing is done twice, and nothing is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from api_outage_proxy import ApiOutageProxy
from cluster import Cluster
from control_plane import ControlPlane
from distillations import Distilled
from operator_process import NAME, OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def test_what_ended_while_the_operator_was_away_is_found_when_it_comes_back(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    operator = start_operator()
    distilled.apply(script={"generate": [{"waits": True}]})
    claim = wait_until(lambda: distilled.status.get("workspaceClaim"), what="the claim")
    workspace = wait_until(lambda: scripted_node.volume(distilled.namespace, claim), what="the volume")
    wait_until(lambda: list(workspace.glob("generate-*/running")), 40, "the stage")
    operator.kill()

    (workspace / "go on").touch()
    distilled.kubectl("wait", "--for=condition=Complete", f"job/{distilled.jobs()[0]}", "--timeout=60s")
    operator.start()

    distilled.wait_ready()
    assert [stage["attempts"] for stage in distilled.status["stages"]] == [1, 1, 1, 1]
    assert len(distilled.jobs("generate")) == 1


def test_an_operator_that_is_terminated_ends_within_seconds_and_releases_its_lease(
    distilled: Distilled, start_operator: StartOperator, control_plane: Cluster
) -> None:
    operator = start_operator(DISTILLERY_LEASE_DURATION="60s", DISTILLERY_LEASE_RENEW_DEADLINE="50s")

    assert operator.terminate() < 5
    assert operator.exit_status == 0
    lease = control_plane.get("lease", NAME, distilled.namespace)
    assert lease["spec"].get("holderIdentity", "") == ""


def test_a_lease_that_is_missing_or_deleted_is_made_again(
    distilled: Distilled, start_operator: StartOperator, control_plane: Cluster
) -> None:
    distilled.kubectl("delete", "lease", NAME)
    operator = start_operator()
    first = control_plane.get("lease", NAME, distilled.namespace)["metadata"]["uid"]
    distilled.kubectl("delete", "lease", NAME)
    second = wait_until(lambda: control_plane.get("lease", NAME, distilled.namespace), 20, "another Lease")

    assert second["metadata"]["uid"] != first
    assert second["spec"]["holderIdentity"] == "one"
    assert (operator.exit_status, operator.leads()) == (None, True)


def test_of_two_replicas_one_works_and_the_other_takes_over_when_it_dies(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    first = start_operator(identity="first")
    second = start_operator(identity="second", leading=False)
    wait_until(lambda: second.health().status_code == 200, 30, "the second to watch")
    distilled.apply(script={"train": [{"waits": True}]})
    wait_until(lambda: distilled.children("pods", "train"), 40, "the training")
    assert (first.leads(), second.leads()) == (True, False)
    assert second.metric("distillery_reconcile_seconds_count") is None

    first.kill()
    second.wait_until_leading()
    distilled.patch({"training": {"learningRate": 0.01}})
    wait_until(lambda: len({each["inputHash"] for each in distilled.status["stages"]}) == 2, 30, "the second to work")
    assert distilled.stage("generate")["attempts"] == 1


def test_a_leader_cut_off_stops_before_another_may_start_and_its_process_ends(
    distilled: Distilled, start_operator: StartOperator, control_plane: ControlPlane
) -> None:
    with ApiOutageProxy(control_plane.port) as proxy:
        kubeconfig = control_plane.kubeconfig_for(NAME, distilled.namespace, server=proxy.server)
        first = start_operator(kubeconfig=kubeconfig, identity="first")
        second = start_operator(identity="second", leading=False)
        proxy.cut()
        wait_until(lambda: first.exit_status is not None or not first.leads(), 30, "the first to stop its work")
        assert not second.leads()
        second.wait_until_leading()
        wait_until(lambda: first.exit_status is not None, 5, "the first to end")

    assert first.exit_status == 1
    assert "the lease could not be renewed for 2 s" in first.log
    distilled.apply()
    distilled.wait_ready()


def test_a_leader_that_slept_cannot_overwrite_its_successors_status(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    first = start_operator(identity="first")
    second = start_operator(identity="second", leading=False)
    first.pause()
    second.wait_until_leading()
    distilled.apply()
    distilled.wait_ready()
    before = distilled.get()

    first.resume()
    wait_until(lambda: first.exit_status is not None, 30, "the first to end")
    assert first.exit_status == 1
    assert distilled.get()["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert len(distilled.jobs()) == 4


def test_an_outage_shorter_than_the_lease_is_survived(
    distilled: Distilled, start_operator: StartOperator, control_plane: ControlPlane
) -> None:
    with ApiOutageProxy(control_plane.port) as proxy:
        kubeconfig = control_plane.kubeconfig_for(NAME, distilled.namespace, server=proxy.server)
        operator = start_operator(
            kubeconfig=kubeconfig,
            DISTILLERY_LEASE_DURATION="60s",
            DISTILLERY_LEASE_RENEW_DEADLINE="50s",
        )
        distilled.apply()
        wait_until(distilled.jobs, 30, "the first Job")
        proxy.cut()
        time.sleep(4)
        assert operator.health().status_code == 200
        proxy.restore()

        distilled.wait_ready(90)
        assert operator.exit_status is None
    assert [stage["attempts"] for stage in distilled.status["stages"]] == [1, 1, 1, 1]


def test_a_restart_of_the_api_server_is_survived(
    distilled: Distilled, start_operator: StartOperator, control_plane: ControlPlane
) -> None:
    operator = start_operator(DISTILLERY_LEASE_DURATION="90s", DISTILLERY_LEASE_RENEW_DEADLINE="80s")
    distilled.apply()
    wait_until(distilled.jobs, 30, "the first Job")
    control_plane.stop_api_server()
    time.sleep(2)
    control_plane.start_api_server()

    distilled.wait_ready(120)
    assert operator.exit_status is None
    assert [stage["attempts"] for stage in distilled.status["stages"]] == [1, 1, 1, 1]


def test_a_wrong_setting_ends_the_process_with_a_sentence(start_operator: StartOperator) -> None:
    operator = start_operator(leading=False, DISTILLERY_TRAINER_IMAGE="")
    wait_until(lambda: operator.exit_status is not None, 20, "it to end")

    assert operator.exit_status == 2
    assert operator.log.startswith("DISTILLERY_TRAINER_IMAGE='' is invalid: ")
