"""What is changed in a claim that exists: its owner, a label of earlier releases, and its size, which only grows."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_operator.core.actions import Merge
from distillery_operator.core.observation import Children
from distillery_operator.core.observe import observe
from distillery_operator.core.volume_resize import resize_message
from distillery_operator.manifests.storage import workspace_claim
from simulated_cluster import START, UID, Raw, SimulatedCluster

CLAIM = "conjnli-workspace-5f0c1a2b"


def served(**changes: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(**changes)
    cluster.run_stages(*Stage)
    claim = cluster.objects["PersistentVolumeClaim", CLAIM]
    claim["status"] = {"phase": "Bound", "capacity": {"storage": "50Gi"}}
    return cluster


def patches(cluster: SimulatedCluster) -> list[Raw]:
    return [action.patch for action in cluster.decisions() if isinstance(action, Merge)]


def test_a_new_claim_has_no_label_by_which_argo_cd_prunes_it() -> None:
    labels = workspace_claim(SimulatedCluster().plan)["metadata"]["labels"]
    assert "app.kubernetes.io/instance" not in labels
    assert labels["distillery.dev/name"] == "conjnli"


@pytest.mark.parametrize(("value", "removed"), [("conjnli", True), ("an-application", False)])
def test_the_label_of_earlier_releases_is_removed_and_that_of_others_stays(value: str, removed: bool) -> None:
    cluster = served()
    cluster.objects["PersistentVolumeClaim", CLAIM]["metadata"]["labels"]["app.kubernetes.io/instance"] = value
    wanted = [{"metadata": {"labels": {"app.kubernetes.io/instance": None}}}]
    assert patches(cluster) == (wanted if removed else [])


@pytest.mark.parametrize(
    ("size", "patched"),
    [("100Gi", "100Gi"), ("50Gi", None), (None, None), ("20Gi", None), ("51200Mi", None), ("0.05Ti", "0.05Ti")],
)
def test_a_larger_size_is_requested_and_a_smaller_one_never(size: str | None, patched: str | None) -> None:
    cluster = served()
    cluster.change(storage={"size": size} if size else {})
    wanted = {"spec": {"resources": {"requests": {"storage": patched}}}}
    assert patches(cluster) == ([wanted] if patched else [])


def test_a_claim_without_a_volume_and_one_of_the_users_own_are_left_alone() -> None:
    cluster = served()
    cluster.objects["PersistentVolumeClaim", CLAIM]["status"] = {"phase": "Pending"}
    cluster.change(storage={"size": "100Gi"})
    assert patches(cluster) == []
    cluster = SimulatedCluster(storage={"claimName": "mine"})
    claim = {"metadata": {"name": "mine", "uid": "u", "labels": {"app.kubernetes.io/instance": "conjnli"}}, "spec": {}}
    cluster.objects["PersistentVolumeClaim", "mine"] = claim | {"status": {"phase": "Bound"}}
    cluster.settle()
    assert patches(cluster) == []


def test_owner_label_and_size_are_patches_of_their_own() -> None:
    cluster = served()
    cluster.objects["PersistentVolumeClaim", CLAIM]["metadata"]["labels"]["app.kubernetes.io/instance"] = "conjnli"
    cluster.change(storage={"size": "100Gi", "retention": "Delete"})
    assert [next(iter(patch)) for patch in patches(cluster)] == ["metadata", "metadata", "spec"]


@pytest.mark.parametrize(
    ("capacity", "conditions", "message"),
    [
        ("100Gi", {}, None),
        ("50Gi", {}, "the volume has 50Gi of 100Gi; it is being enlarged"),
        ("50Gi", {"Resizing": ""}, "the volume has 50Gi of 100Gi; it is being enlarged"),
        (
            "50Gi",
            {"FileSystemResizePending": "Waiting for user to (re-)start a pod"},
            "the volume has 50Gi of 100Gi; its file system grows when the next Pod mounts it: restart the server if no"
            " stage is due",
        ),
        (
            "50Gi",
            {"ControllerResizeError": "quota of the cloud"},
            "the volume has 50Gi of 100Gi; it cannot be enlarged now: quota of the cloud",
        ),
        (None, {}, None),
    ],
)
def test_the_status_says_what_an_enlargement_waits_for(
    capacity: str | None, conditions: dict[str, str], message: str | None
) -> None:
    seen = [{"type": kind, "status": "True", "message": text} for kind, text in conditions.items()]
    status = {"phase": "Bound", "conditions": seen, "capacity": {"storage": capacity} if capacity else {}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Gi"}}}
    claim = {"metadata": {"name": CLAIM}, "spec": spec, "status": status}
    observed = observe(Children(claim=claim), owner_uid=UID, now=START).claim
    assert resize_message(observed) == message


def test_the_capacity_stands_in_the_status() -> None:
    cluster = served()
    cluster.change(storage={"size": "100Gi"})
    cluster.objects["PersistentVolumeClaim", CLAIM]["spec"]["resources"]["requests"]["storage"] = "100Gi"
    cluster.settle()
    assert cluster.status.workspace_capacity == "50Gi"
    assert cluster.status.workspace_message == "the volume has 50Gi of 100Gi; it is being enlarged"
