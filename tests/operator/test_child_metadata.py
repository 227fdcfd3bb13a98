"""Labels and annotations that the user wants on everything that the operator creates."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Apply, Create, Delete, DryRun, Merge
from simulated_cluster import SimulatedCluster

METADATA = {"labels": {"team": "nlp"}, "annotations": {"example.com/cost-centre": "42"}}
NOTE = '{"labels":["team"],"annotations":["example.com/cost-centre"]}'
CLAIM = "conjnli-workspace-5f0c1a2b"

Raw = dict[str, Any]


def served(**changes: Any) -> SimulatedCluster:
    """A cluster whose student is served."""
    cluster = SimulatedCluster(**changes)
    cluster.settle()
    cluster.run_stages(*Stage)
    return cluster


def of_user(manifest: Raw) -> Raw:
    """The user's labels and annotations of an object."""
    metadata = manifest["metadata"]
    found = {kind: metadata.get(kind) or {} for kind in ("labels", "annotations")}
    return {kind: {key: each for key, each in found[kind].items() if key in METADATA[kind]} for kind in found}


def test_every_child_and_every_pod_has_the_users_labels_and_annotations() -> None:
    cluster = served(childMetadata=METADATA)
    children = cluster.objects.values()
    assert {child["kind"] for child in children} == {
        "PersistentVolumeClaim",
        "ConfigMap",
        "Job",
        "Deployment",
        "Service",
    }
    templates = [child["spec"]["template"] for child in children if child["kind"] in ("Job", "Deployment")]
    for manifest in (*children, *templates):
        assert of_user(manifest) == METADATA
    assert "team" not in cluster.objects["Service", "conjnli"]["spec"]["selector"]


def test_pods_of_the_dry_run_have_them_too() -> None:
    # A policy that requires a label refuses a Pod without it.
    cluster = SimulatedCluster(childMetadata=METADATA)
    checked = [action.manifest for action in cluster.decisions() if isinstance(action, DryRun)]
    assert len(checked) == 5
    assert all(of_user(pod) == METADATA for pod in checked)


def test_a_label_of_a_pod_template_comes_first() -> None:
    template = {"metadata": {"labels": {"team": "vision"}, "annotations": {"example.com/cost-centre": "7"}}}
    cluster = SimulatedCluster(childMetadata=METADATA)
    cluster.change(generation={**cluster.spec["generation"], "podTemplate": template})
    cluster.settle()
    job = cluster.job()
    assert of_user(job) == METADATA
    assert of_user(job["spec"]["template"]) == {
        "labels": {"team": "vision"},
        "annotations": {"example.com/cost-centre": "7"},
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, METADATA),
        (METADATA, {"labels": {"team": "vision"}}),
        (METADATA, {"labels": {}, "annotations": {}}),
        (METADATA, None),
    ],
)
def test_a_change_reaches_what_lasts_and_restarts_and_runs_nothing(before: Raw | None, after: Raw | None) -> None:
    cluster = served(**({"childMetadata": before} if before else {}))
    template = cluster.objects["Deployment", "conjnli"]["spec"]["template"]
    jobs = cluster.jobs()
    cluster.change(childMetadata=after)
    actions = cluster.decisions()
    described = [
        (type(action).__name__, action.kind if isinstance(action, Merge) else action.manifest["kind"])
        for action in actions
        if not isinstance(action, DryRun | Delete)
    ]
    assert described == [("Merge", "PersistentVolumeClaim"), ("Apply", "Deployment"), ("Apply", "Service")]
    cluster.settle()
    assert not any(isinstance(action, Apply | Create | Merge) for action in cluster.decisions())
    assert cluster.objects["Deployment", "conjnli"]["spec"]["template"] == template
    assert cluster.jobs() == jobs
    assert cluster.truth(ConditionType.READY) == "True"
    wanted = {kind: (after or {}).get(kind) or {} for kind in METADATA}
    for kind, name in (("PersistentVolumeClaim", CLAIM), ("Deployment", "conjnli"), ("Service", "conjnli")):
        assert of_user(cluster.objects[kind, name]) == wanted


def test_labels_that_others_put_on_the_claim_stay() -> None:
    cluster = served(childMetadata=METADATA)
    claim = cluster.objects["PersistentVolumeClaim", CLAIM]
    claim["metadata"]["labels"]["velero.io/backup"] = "daily"
    assert claim["metadata"]["annotations"]["distillery.dev/child-metadata"] == NOTE
    cluster.change(childMetadata=None)
    cluster.settle()
    claim = cluster.objects["PersistentVolumeClaim", CLAIM]
    assert claim["metadata"]["labels"]["velero.io/backup"] == "daily"
    assert "distillery.dev/child-metadata" not in claim["metadata"]["annotations"]


@pytest.mark.parametrize("note", ["", "{", "[]", '{"labels": 7}', '{"labels": ["gone"]}'])
def test_a_note_on_the_claim_that_somebody_changed_is_written_again(note: str) -> None:
    cluster = served(childMetadata=METADATA)
    cluster.objects["PersistentVolumeClaim", CLAIM]["metadata"]["annotations"]["distillery.dev/child-metadata"] = note
    cluster.settle()
    claim = cluster.objects["PersistentVolumeClaim", CLAIM]
    assert claim["metadata"]["annotations"]["distillery.dev/child-metadata"] == NOTE
    assert of_user(claim) == METADATA


def test_a_claim_of_the_users_own_is_left_alone() -> None:
    cluster = SimulatedCluster(childMetadata=METADATA, storage={"claimName": "mine"})
    cluster.objects["PersistentVolumeClaim", "mine"] = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mine"},
        "spec": {"accessModes": []},
    }
    cluster.settle()
    assert cluster.objects["PersistentVolumeClaim", "mine"]["metadata"] == {"name": "mine"}
