"""Where stages run on a volume that only one node can mount: by what is there at each attempt."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Delete
from simulated_cluster import Raw, SimulatedCluster


def retraining(**changes: Any) -> SimulatedCluster:
    """A student is served, and another is being trained: its Job has a Pod."""
    cluster = SimulatedCluster(**changes)
    cluster.run_stages(*Stage)
    cluster.start_server()
    cluster.change(training={"seed": 7})
    cluster.settle()
    return cluster


def required_neighbours(job: Raw) -> list[Raw]:
    affinity = job["spec"]["template"]["spec"].get("affinity", {})
    terms: list[Raw] = affinity.get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    return terms


def test_a_job_beside_a_server_that_has_gone_is_replaced_in_the_same_attempt() -> None:
    cluster = retraining()
    job = cluster.job()
    assert required_neighbours(job)
    cluster.change(serving={"runtime": "Transformers", "replicas": 0})
    cluster.settle()
    cluster.stop_server()
    cluster.find_no_room("0/1 nodes are available: 1 node(s) didn't match pod affinity rules.")

    cluster.settle()
    assert cluster.job()["metadata"]["name"] == job["metadata"]["name"]
    assert cluster.job()["metadata"]["uid"] != job["metadata"]["uid"]
    assert required_neighbours(cluster.job()) == []
    assert cluster.record(Stage.TRAIN).attempts == 1


def test_a_job_that_cannot_mount_the_volume_is_moved_to_the_servers_node() -> None:
    cluster = SimulatedCluster()
    cluster.run_stages(*Stage)
    cluster.change(training={"seed": 7})
    cluster.settle()
    assert required_neighbours(cluster.job()) == []
    cluster.start_server()
    message = 'Multi-Attach error for volume "pvc-1": Volume is already used by pod(s) conjnli-server'
    event = {"reason": "FailedAttachVolume", "message": message, "involvedObject": cluster.pod()["metadata"]}
    cluster.events.append(event)
    cluster.settle()
    assert required_neighbours(cluster.job())


@pytest.mark.parametrize("gone", [True, False])
def test_a_job_that_runs_is_never_replaced(gone: bool) -> None:
    cluster = retraining()
    uid = cluster.job()["metadata"]["uid"]
    cluster.start()
    if gone:
        cluster.pods.pop("conjnli-server")
    cluster.settle()
    assert cluster.job()["metadata"]["uid"] == uid


def test_a_full_node_is_waited_for_where_the_server_is() -> None:
    cluster = retraining()
    cluster.find_no_room()
    cluster.settle()
    assert cluster.reason(ConditionType.RECONCILING) == "Unschedulable"
    assert not any(isinstance(action, Delete) for action in cluster.decisions())


def test_an_affinity_of_the_users_own_is_no_reason_to_replace_the_job_again_and_again() -> None:
    term = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "serving"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster = SimulatedCluster(training={"podTemplate": {"spec": {"affinity": affinity}}})
    cluster.run_stages(Stage.GENERATE)
    uid = cluster.job()["metadata"]["uid"]
    cluster.find_no_room()
    cluster.settle()
    assert cluster.job()["metadata"]["uid"] == uid
