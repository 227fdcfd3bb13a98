"""The operator and Kueue's API: with the chart's rights, in a cluster without Kueue, and in one with its objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess
from process_node.node import ProcessNode
from waiting import wait_until

QUEUE = "kueue.x-k8s.io/queue-name"
JOB_UID = "kueue.x-k8s.io/job-uid"
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
WORKLOADS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "workloads.kueue.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": "kueue.x-k8s.io",
        "names": {"kind": "Workload", "plural": "workloads", "singular": "workload"},
        "scope": "Namespaced",
        "versions": [{"name": "v1beta2", "served": True, "storage": True, "schema": {"openAPIV3Schema": OPEN}}],
    },
}
NO_QUOTA = {
    "type": "QuotaReserved",
    "status": "False",
    "reason": "Pending",
    "message": "insufficient unused quota for cpu in flavor default, 1 more needed",
}

StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    """A Distillation of the test's namespace, not applied yet."""
    return Distilled(control_plane, namespace)


@pytest.fixture
def serve_workloads(control_plane: Cluster) -> Iterator[Callable[[], None]]:
    """Let the API server serve Kueue's Workloads, which nothing works on; until the end of the test."""

    def serve() -> None:
        control_plane.apply(WORKLOADS)
        wait_until(lambda: control_plane.get("workloads.kueue.x-k8s.io"), 30, "Workloads to be served")

    yield serve
    control_plane.kubectl("delete", "crd", "workloads.kueue.x-k8s.io", "--ignore-not-found", "--timeout=30s")


def workload_of(job: dict[str, Any]) -> dict[str, Any]:
    """The Workload that Kueue makes of a Job for which there is no quota."""
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {"name": "of-the-job", "labels": {JOB_UID: job["metadata"]["uid"]}},
        "spec": {"active": True, "queueName": "team"},
        "status": {"conditions": [NO_QUOTA]},
    }


def noticed(distilled: Distilled, mark: str) -> None:
    """Let the operator look at once: Workloads are not watched."""
    distilled.kubectl("annotate", "--overwrite", "distillation", distilled.name, f"example.com/noticed={mark}")


def test_a_queued_job_waits_with_kueues_words_and_is_paused_by_its_workload(
    distilled: Distilled, start_operator: StartOperator, serve_workloads: Callable[[], None]
) -> None:
    start_operator()
    distilled.apply(small_spec(queue={"name": "team"}))
    distilled.wait("Reconciling", reason="Queued")
    wait_until(lambda: "no Kueue answers" in distilled.message(), 20, "the missing Kueue to be said")
    job = distilled.children("jobs", "generate")[0]
    assert (job["metadata"]["labels"][QUEUE], job["spec"]["suspend"]) == ("team", True)

    serve_workloads()
    distilled.cluster.apply(workload_of(job), distilled.namespace)
    noticed(distilled, "quota")
    wait_until(lambda: distilled.message().endswith(NO_QUOTA["message"]), 20, "Kueue's words in the status")

    distilled.patch({"suspend": True})
    distilled.wait("Suspended")
    wait_until(lambda: not active(distilled), 20, "the Workload to be inactive")
    distilled.patch({"suspend": False})
    wait_until(lambda: active(distilled), 20, "the Workload to be active again")
    assert distilled.children("jobs", "generate")[0]["spec"]["suspend"]

    # Kueue admits the Job.
    distilled.kubectl("patch", "job", job["metadata"]["name"], "--type=merge", "-p", '{"spec": {"suspend": false}}')
    wait_until(lambda: distilled.stage("generate").get("completionTime"), 40, "the stage to be done")
    assert distilled.stage("generate")["attempts"] == 1


def active(distilled: Distilled) -> bool:
    """Whether Kueue may start the Job."""
    found = json.loads(distilled.kubectl("get", "workloads.kueue.x-k8s.io", "of-the-job", "-o", "json"))
    return bool(found["spec"]["active"])
