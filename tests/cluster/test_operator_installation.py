"""How the operator meets a cluster: which rights it needs, what it watches, and what it refuses to run with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import Cluster
from distillations import Distilled, small_spec
from operator_process import OperatorProcess, grant_rights, install_crd
from process_node.node import ProcessNode
from waiting import wait_until

CRD = "distillations.distillery.dev"
StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def distilled(control_plane: Cluster, namespace: str, scripted_node: ProcessNode) -> Distilled:
    return Distilled(control_plane, namespace)


def patch_crd(cluster: Cluster, spec: dict[str, Any]) -> None:
    """Replace the CRD's spec; it is too long for an argument of a command."""
    cluster.kubectl("patch", "crd", CRD, "--type=merge", "--patch-file=/dev/stdin", stdin=json.dumps({"spec": spec}))


@pytest.fixture
def older_crd(control_plane: Cluster, crd: None) -> Iterator[None]:
    """The CRD without two of its fields, as an earlier release had it."""
    stored = control_plane.get("crd", CRD)
    version = stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del version["status"]["properties"]["history"]
    del version["spec"]["properties"]["training"]["properties"]["seed"]
    patch_crd(control_plane, stored["spec"])
    yield
    install_crd(control_plane)


@pytest.fixture
def newer_crd(control_plane: Cluster, crd: None) -> Iterator[None]:
    """The CRD with a new field and a relaxed rule, as a later release may have it."""
    stored = control_plane.get("crd", CRD)
    training = stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][
        "training"
    ]
    training["properties"]["scheduler"] = {"type": "string"}
    del training["properties"]["epochs"]["minimum"]
    patch_crd(control_plane, stored["spec"])
    fields = control_plane.kubectl
    wait_until(lambda: "scheduler" in fields("explain", "distillation.spec.training"), 20, "the new field")
    yield
    install_crd(control_plane)


def test_for_all_namespaces_it_works_with_the_charts_cluster_role(
    distilled: Distilled, control_plane: Cluster, start_operator: StartOperator
) -> None:
    kubeconfig = grant_rights(control_plane, distilled.namespace, [])
    operator = start_operator(kubeconfig=kubeconfig, DISTILLERY_NAMESPACES="")
    distilled.apply()
    distilled.wait_ready()

    health = operator.health()
    assert (health.status_code, health.json()) == (200, {"watching": "ok"})
    assert " 403 " not in operator.log
    assert "Forbidden" not in operator.log
    distilled.delete()


def test_confined_to_one_namespace_it_leaves_the_others_alone(
    distilled: Distilled, control_plane: Cluster, start_operator: StartOperator
) -> None:
    operator = start_operator()
    other = Distilled(control_plane, "default", name="elsewhere")
    other.apply()
    distilled.apply()
    distilled.wait_ready()

    assert other.status["observedGeneration"] == -1
    assert (other.events(), other.jobs()) == ([], [])
    assert "Forbidden" not in operator.log
    other.delete()


def test_a_namespace_without_rights_does_not_stop_the_others_and_is_picked_up_when_they_come(
    distilled: Distilled, start_operator: StartOperator, control_plane: Cluster
) -> None:
    closed = f"{distilled.namespace}-closed"
    control_plane.kubectl("create", "namespace", closed)
    later = Distilled(control_plane, closed)
    operator = start_operator(DISTILLERY_NAMESPACES=f"{closed},{distilled.namespace}")
    later.apply()
    distilled.apply()
    distilled.wait_ready()
    assert later.status["observedGeneration"] == -1
    assert operator.metric("distillery_namespace_forbidden", namespace=closed) == 1
    assert operator.metric("distillery_namespace_forbidden", namespace=distilled.namespace) == 0
    assert operator.log.count(f"nothing happens in {closed} until the operator may list and watch there") == 1

    grant_rights(control_plane, distilled.namespace, [distilled.namespace, closed])
    later.wait("Reconciling")
    wait_until(lambda: operator.health().status_code == 200, 20, "the operator to be well")
    assert operator.metric("distillery_namespace_forbidden", namespace=closed) == 0
    control_plane.kubectl("delete", "namespace", closed, "--wait=false")


def test_with_an_older_crd_it_does_not_start_and_names_the_missing_fields(
    older_crd: None, start_operator: StartOperator
) -> None:
    operator = start_operator(leading=False)
    wait_until(lambda: operator.exit_status is not None, 40, "it to end")

    assert operator.exit_status == 1
    assert "is older than this operator: it lacks spec.training.seed, status.history; upgrade the CRD" in operator.log


def test_fields_of_a_newer_crd_are_ignored(
    newer_crd: None, distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply(small_spec(training={"scheduler": "linear"}))
    distilled.wait_ready()
    assert distilled.get()["spec"]["training"]["scheduler"] == "linear"


def test_a_stored_spec_that_breaks_a_rule_stalls_with_a_sentence_and_what_serves_is_left_alone(
    newer_crd: None, distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply()
    distilled.wait_ready()

    distilled.patch({"training": {"epochs": 0}})
    stalled = distilled.wait("Stalled", reason="InvalidSpec")
    assert distilled.message() == "spec.training.epochs: Input should be greater than or equal to 1"
    assert stalled["status"]["observedGeneration"] == stalled["metadata"]["generation"]
    assert distilled.conditions["Available"] == ("True", "Serving")
    assert len(distilled.children("deployments")) == 1

    distilled.patch({"training": {"epochs": 1}})
    distilled.wait_ready()
    assert len(distilled.jobs()) == 4


def test_the_claim_is_deleted_too_where_the_spec_says_so(distilled: Distilled, start_operator: StartOperator) -> None:
    start_operator()
    distilled.apply(small_spec(storage={"size": "1Gi", "retention": "Delete"}))
    distilled.wait_ready()

    distilled.delete()
    wait_until(lambda: not distilled.children("persistentvolumeclaims"), 40, "the claim to go")


def test_a_kept_claim_serves_the_next_distillation_without_a_new_reply(
    distilled: Distilled, start_operator: StartOperator, scripted_node: ProcessNode
) -> None:
    start_operator()
    distilled.apply()
    claim = distilled.wait_ready()["status"]["workspaceClaim"]
    workspace = scripted_node.volume(distilled.namespace, claim)
    distilled.delete()

    distilled.apply(small_spec(storage={"claimName": claim}))
    status = distilled.wait_ready()["status"]
    assert status["workspaceClaim"] == claim
    assert (workspace / f"generate-{status['stages'][0]['inputHash']}").exists()


def test_applied_again_at_once_after_its_deletion_it_starts_afresh(
    distilled: Distilled, start_operator: StartOperator
) -> None:
    start_operator()
    distilled.apply()
    first = distilled.wait_ready()
    distilled.kubectl("delete", "distillation", "small", "--wait=false")
    distilled.apply()
    second = distilled.wait_ready(90)

    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert second["status"]["workspaceClaim"] != first["status"]["workspaceClaim"]
    owners = {job["metadata"]["ownerReferences"][0]["uid"] for job in distilled.children("jobs")}
    assert owners == {second["metadata"]["uid"]}


def test_its_metrics_count_what_it_looks_after(distilled: Distilled, start_operator: StartOperator) -> None:
    operator = start_operator()
    distilled.apply(script={"train": [{"waits": True}]})
    wait_until(lambda: distilled.children("pods", "train"), 40, "training")

    wait_until(lambda: operator.metric("distillery_stages", stage="train", state="under-way") == 1, what="the metric")
    assert operator.metric("distillery_stages", stage="generate", state="done") == 1
    assert operator.metric("distillery_distillations", reason="Training") == 1
    assert (operator.metric("distillery_reconcile_seconds_count", outcome="ok") or 0) > 3
    assert not operator.metric("distillery_reconcile_seconds_count", outcome="error")

    distilled.delete()
    wait_until(
        lambda: operator.metric("distillery_distillations", reason="Training") is None, what="it to be forgotten"
    )


def test_at_rest_it_writes_nothing(distilled: Distilled, start_operator: StartOperator) -> None:
    operator = start_operator(DISTILLERY_RESYNC="500ms")
    distilled.apply()
    distilled.wait_ready()
    before = distilled.get()["metadata"]["resourceVersion"]
    looks = operator.metric("distillery_reconcile_seconds_count", outcome="ok") or 0

    wait_until(lambda: (operator.metric("distillery_reconcile_seconds_count", outcome="ok") or 0) > looks + 5)
    assert distilled.get()["metadata"]["resourceVersion"] == before
