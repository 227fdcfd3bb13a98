"""Finished stages belong to one claim: with another one, or none, nothing is started, changed or paid again."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_api.usage import Usage
from simulated_cluster import Raw, SimulatedCluster, written

CLAIM = "conjnli-workspace-5f0c1a2b"


def served(**changes: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(**changes)
    cluster.run_stages(*Stage)
    return cluster


def given(cluster: SimulatedCluster, name: str, uid: str) -> None:
    """A claim of the user's own."""
    metadata = {"name": name, "uid": uid}
    cluster.objects["PersistentVolumeClaim", name] = {"metadata": metadata, "spec": {"accessModes": ["ReadWriteOnce"]}}


def served_from(name: str) -> SimulatedCluster:
    cluster = SimulatedCluster(storage={"claimName": name})
    given(cluster, name, "uid-of-the-first")
    cluster.run_stages(*Stage)
    return cluster


def stalled(cluster: SimulatedCluster) -> tuple[str | None, str]:
    found = cluster.condition(ConditionType.STALLED)
    return (found.reason, found.message.removeprefix("verify: ")) if found else (None, "")


def deployment(cluster: SimulatedCluster) -> Raw:
    return cluster.objects["Deployment", "conjnli"]


def test_the_status_says_in_which_claim_the_stages_were_finished() -> None:
    cluster = served_from("mine")
    assert (cluster.status.workspace_claim, cluster.status.workspace_uid) == ("mine", "uid-of-the-first")


def test_another_claim_name_changes_nothing_that_serves_and_says_what_to_do() -> None:
    cluster = served_from("mine")
    before = deployment(cluster)
    given(cluster, "other", "uid-of-the-second")
    cluster.change(storage={"claimName": "other"})
    cluster.settle()
    assert cluster.decisions() == ()
    assert deployment(cluster) == before
    assert stalled(cluster) == (
        "WorkspaceChanged",
        "the claim other is not the one in which stages were finished (mine, UID uid-of-the-first); if it holds the"
        " same files, annotate this Distillation with distillery.dev/retry-at to use it; else bring the former claim"
        " back, or create another Distillation for this one",
    )
    assert (cluster.truth(ConditionType.AVAILABLE), cluster.truth(ConditionType.READY)) == ("True", "False")
    assert (cluster.status.workspace_claim, cluster.status.workspace_uid) == ("mine", "uid-of-the-first")

    cluster.change(storage={"claimName": "mine"})
    cluster.settle()
    assert cluster.truth(ConditionType.READY) == "True"


def test_a_restored_claim_is_used_once_a_person_says_so() -> None:
    cluster = served_from("mine")
    given(cluster, "mine", "uid-of-the-restored")
    cluster.change(training={"seed": 7})
    cluster.settle()
    assert stalled(cluster)[0] == "WorkspaceChanged"
    assert not any(name.startswith(cluster.plan.stage(Stage.TRAIN).folder, len("conjnli-")) for name in cluster.jobs())

    cluster.wait(1)
    cluster.request_retry()
    cluster.settle()
    assert stalled(cluster)[0] is None
    assert cluster.status.workspace_uid == "uid-of-the-restored"
    assert cluster.job()["metadata"]["name"].startswith("conjnli-train")


def test_before_anything_is_finished_the_claim_may_be_another() -> None:
    cluster = SimulatedCluster(storage={"claimName": "mine"})
    given(cluster, "other", "uid-of-the-second")
    cluster.settle()
    cluster.change(storage={"claimName": "other"})
    cluster.settle()
    assert stalled(cluster)[0] is None
    assert cluster.status.workspace_claim == "other"


@pytest.mark.parametrize("storage", [{}, {"claimName": "mine"}])
def test_a_served_student_whose_claim_is_gone_is_not_ready(storage: dict[str, str]) -> None:
    cluster = served_from("mine") if storage else served()
    name = storage.get("claimName", CLAIM)
    del cluster.objects["PersistentVolumeClaim", name]
    cluster.settle()
    assert (stalled(cluster)[0], cluster.decisions()) == ("WorkspaceLost", ())
    assert f"the claim {name} no longer exists" in stalled(cluster)[1]


def test_a_distillation_restored_with_its_status_says_how_its_former_claim_is_used() -> None:
    cluster = served()
    del cluster.objects["PersistentVolumeClaim", CLAIM]
    cluster.status = cluster.status.model_copy(update={"workspace_claim": "conjnli-workspace-77777777"})
    cluster.settle()
    assert (stalled(cluster)[0], cluster.decisions()) == ("WorkspaceLost", ())
    assert stalled(cluster)[1] == (
        "the rows and models of finished stages are in the claim conjnli-workspace-77777777, and the claim of this"
        f" Distillation, which has been made anew, would be {CLAIM}; delete this Distillation, and apply it again with"
        " storage.claimName conjnli-workspace-77777777"
    )


@pytest.mark.parametrize("when", ["served", "training", "serving is off"])
def test_a_claim_deleted_by_a_slip_is_reported_at_once_with_how_to_save_it(when: str) -> None:
    cluster = served()
    cluster.start_server()
    if when == "training":
        cluster.change(training={"seed": 7})
        cluster.settle()
        cluster.start()
    if when == "serving is off":
        cluster.change(serving={"mode": "None"})
        cluster.settle()
    claim = cluster.objects["PersistentVolumeClaim", CLAIM]
    claim["spec"]["volumeName"] = "pvc-17"
    claim["metadata"]["deletionTimestamp"] = written(cluster.now)
    cluster.reconcile()
    assert cluster.decisions() == ()
    assert stalled(cluster) == (
        "WorkspaceLost",
        f"the claim {CLAIM} is being deleted, and lasts only as long as Pods of this Distillation do; to keep its rows"
        """ and models, run kubectl patch pv pvc-17 -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}' now, and"""
        " restore the claim as docs/operations.md says; to let them go, delete this Distillation",
    )


@pytest.mark.parametrize(("requests", "reason"), [(0, None), (90, "WorkspaceLost")])
def test_paid_replies_of_an_unfinished_stage_are_not_paid_again_in_a_new_claim(
    requests: int, reason: str | None
) -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.start()
    usage = Usage(requests=requests, input_tokens=10 * requests, output_tokens=requests) if requests else None
    cluster.fail(3, Reason.TEACHER_UNREACHABLE, "no answer", usage=usage)
    cluster.settle()
    del cluster.objects["PersistentVolumeClaim", CLAIM]
    cluster.wait(60)
    cluster.settle()
    assert stalled(cluster)[0] == reason
    assert (("PersistentVolumeClaim", CLAIM) in cluster.objects) == (reason is None)


def test_a_claim_is_recorded_once_it_has_a_volume_together_with_its_capacity() -> None:
    cluster = SimulatedCluster()
    cluster.reconcile()
    claim = cluster.objects["PersistentVolumeClaim", cluster.plan.claim_name]
    claim["status"] = {"phase": "Pending"}
    before = cluster.status
    cluster.reconcile()
    assert cluster.status == before

    claim["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    cluster.reconcile()
    assert (cluster.status.workspace_uid, cluster.status.workspace_capacity) == (claim["metadata"]["uid"], "1Gi")
