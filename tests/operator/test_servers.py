"""What serves keeps its Pod template until its student or the user's spec changes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Apply, DryRun
from distillery_operator.manifests.server import ServedModel, Server, server_from_annotation
from simulated_cluster import SimulatedCluster

EARLIER_RELEASE = Path(__file__).parents[1] / "data" / "input" / "served_by_earlier_release.yaml"
NEW_RELEASE = {"trainer_image": "distillery-trainer:2", "vllm_image": "vllm-openai:2", "run_as_user": None}

Raw = dict[str, Any]


def served(**changes: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(**changes)
    cluster.run_stages(*Stage)
    assert cluster.truth(ConditionType.READY) == "True"
    return cluster


def of_earlier_release() -> SimulatedCluster:
    """A cluster with what the release before this behaviour left."""
    return SimulatedCluster.holding(yaml.safe_load(EARLIER_RELEASE.read_text()))


def deployment(cluster: SimulatedCluster) -> Raw:
    return cluster.objects["Deployment", "conjnli"]


def template(cluster: SimulatedCluster) -> Raw:
    """The Pod template that is deployed."""
    found: Raw = copy.deepcopy(deployment(cluster)["spec"]["template"])
    return found


def image(cluster: SimulatedCluster) -> str:
    return str(template(cluster)["spec"]["containers"][0]["image"])


@pytest.mark.parametrize(
    "settings",
    [
        {"trainer_image": "distillery-trainer:2"},
        {"run_as_user": None},
        {"fs_group": None},
        {"image_pull_policy": "Always"},
        {"progress_deadline_seconds": 60},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.parametrize("start", [served, of_earlier_release])
def test_another_setting_of_the_installation_restarts_no_server_and_verifies_nothing_again(
    start: Any, settings: Raw
) -> None:
    cluster = start()
    before, created = template(cluster), len(cluster.created)
    cluster.install(**settings)
    cluster.reconcile()
    assert cluster.truth(ConditionType.READY) == "True"
    cluster.settle()
    assert (template(cluster), cluster.created[created:]) == (before, [])
    assert (cluster.truth(ConditionType.READY), cluster.truth(ConditionType.AVAILABLE)) == ("True", "True")


def test_an_upgrade_stores_the_server_of_an_earlier_release_once() -> None:
    cluster = of_earlier_release()
    applied = [action.manifest["kind"] for action in cluster.decisions() if isinstance(action, Apply)]
    assert applied == ["Deployment"]
    cluster.settle()
    assert cluster.decisions() == ()
    cluster.change(serving={"runtime": "Transformers", "replicas": 0})
    before = template(cluster)
    cluster.settle()
    assert (template(cluster), deployment(cluster)["spec"]["replicas"]) == (before, 0)


def test_an_operator_that_dies_in_the_upgrade_restarts_nothing() -> None:
    cluster = of_earlier_release()
    before = template(cluster)
    cluster.install(**NEW_RELEASE)
    for writes in (0, 1, 1, 2):
        cluster.reconcile(dies_after=writes)
    cluster.settle()
    assert (template(cluster), cluster.created) == (before, [])


def test_an_upgrade_while_a_new_student_is_made_restarts_nothing() -> None:
    for cluster in (served(), of_earlier_release()):
        cluster.change(training={"seed": 7})
        cluster.status = cluster.status.model_copy(update={"observed_generation": 2})
        before = template(cluster)
        cluster.install(**NEW_RELEASE)
        cluster.settle()
        assert template(cluster) == before
        assert cluster.truth(ConditionType.AVAILABLE) == "True"


def test_a_new_student_is_served_by_the_present_release() -> None:
    cluster = of_earlier_release()
    cluster.install(**NEW_RELEASE)
    cluster.settle()
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert image(cluster) == "distillery-trainer:2"


@pytest.mark.parametrize(
    "serving",
    [
        {"runtime": "VLLM"},
        {"runtime": "Transformers", "image": "mine:3"},
        {"runtime": "Transformers", "resources": {"limits": {"memory": "4Gi"}}},
        {"runtime": "Transformers", "podTemplate": {"spec": {"priorityClassName": "high"}}},
    ],
)
def test_another_server_in_the_spec_is_rolled_out_and_verified(serving: Raw) -> None:
    cluster = served()
    before, created = template(cluster), len(cluster.created)
    cluster.change(serving=serving)
    decisions = cluster.decisions()
    assert (type(decisions[0]), type(decisions[-1])) == (DryRun, Apply)
    cluster.run_stages(Stage.VERIFY)
    assert template(cluster) != before
    assert cluster.created[created:] == [f"conjnli-verify-{cluster.record(Stage.VERIFY).input_hash}-1"]
    assert cluster.truth(ConditionType.READY) == "True"


def test_a_requested_restart_takes_the_present_release_once() -> None:
    cluster = served()
    cluster.install(**NEW_RELEASE)
    cluster.annotations["distillery.dev/restart-at"] = "2026-12-01T00:00:00Z"
    cluster.run_stages(Stage.VERIFY)
    assert image(cluster) == "distillery-trainer:2"
    assert template(cluster)["metadata"]["annotations"] == {"distillery.dev/restarted-at": "2026-12-01T00:00:00Z"}
    assert (cluster.truth(ConditionType.READY), cluster.decisions()) == ("True", ())
    del cluster.annotations["distillery.dev/restart-at"]
    assert cluster.decisions() == ()


def test_what_somebody_edits_is_repaired_to_what_was_deployed_and_not_to_what_would_be_now() -> None:
    cluster = served()
    before = template(cluster)
    cluster.install(**NEW_RELEASE)
    deployment(cluster)["spec"]["template"]["spec"]["containers"][0]["image"] = "theirs:1"
    cluster.settle()
    assert template(cluster) == before


@pytest.mark.parametrize("text", ["", "no base64", "bm8gemxpYg==", "eJyrrgUAAXUA+Q==", "eJwzVDAEAAFMAKs="])
def test_a_damaged_annotation_restarts_nothing(text: str) -> None:
    cluster = served()
    before = template(cluster)
    deployment(cluster)["metadata"]["annotations"]["distillery.dev/server"] = text
    cluster.install(**NEW_RELEASE)
    cluster.settle()
    assert (template(cluster), cluster.truth(ConditionType.READY)) == (before, "True")


def test_a_deleted_deployment_is_made_again_and_verified() -> None:
    cluster = served()
    del cluster.objects["Deployment", "conjnli"]
    cluster.install(**NEW_RELEASE)
    cluster.run_stages(Stage.VERIFY)
    assert (image(cluster), cluster.truth(ConditionType.READY)) == ("distillery-trainer:2", "True")


def test_a_lost_status_keeps_the_server() -> None:
    cluster = served()
    before = template(cluster)
    cluster.status = type(cluster.status)()
    cluster.install(**NEW_RELEASE)
    cluster.settle()
    assert template(cluster) == before


def test_a_server_survives_its_annotation() -> None:
    server = Server(
        ServedModel("aaaa", "train-aaaa/model", "p", "bfloat16"),
        "id",
        {"spec": {"a": [1]}},
        "digest",
        "now",
        {"e": "v"},
    )
    assert server_from_annotation(server.to_annotation()) == server


def test_ready_does_not_flip_with_each_autoscaling_step() -> None:
    cluster = served(storage={"accessModes": ["ReadWriteMany"]})
    since = cluster.condition(ConditionType.READY)
    for replicas, ready in ((3, 1), (3, 3), (2, 1), (5, 2), (1, 1)):
        cluster.wait(60)
        cluster.change(serving={"runtime": "Transformers", "replicas": replicas})
        cluster.reconcile()
        assert cluster.truth(ConditionType.READY) == "True"  # before the Deployment's controller has seen it
        cluster.serve(ready=ready)
        cluster.reconcile()
        ready_now = cluster.condition(ConditionType.READY)
        assert ready_now is not None
        assert since is not None
        assert ready_now.model_copy(update={"observed_generation": 1}) == since
    assert cluster.status.serving is not None
    assert cluster.status.serving.ready_replicas == 1


def test_a_server_none_of_whose_pods_answers_is_not_ready() -> None:
    cluster = served()
    cluster.serve(ready=0)
    cluster.reconcile()
    assert (cluster.truth(ConditionType.READY), cluster.truth(ConditionType.AVAILABLE)) == ("False", "False")


@pytest.mark.parametrize("how", ["image", "restart", "deleted"])
def test_a_verified_student_is_available_while_its_changed_server_waits_for_the_next_run(how: str) -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.settle()
    if how == "image":
        cluster.change(serving={"runtime": "Transformers", "image": "mine:3"})
    elif how == "restart":
        cluster.annotations["distillery.dev/restart-at"] = "2026-12-01T00:00:00Z"
    else:
        del cluster.objects["Deployment", "conjnli"]
        cluster.install(**NEW_RELEASE)
    cluster.settle()
    cluster.serve()
    cluster.settle()
    available = cluster.condition(ConditionType.AVAILABLE)
    assert available is not None
    assert (available.status, available.message) == (
        "True",
        "a server of train-nxevyml5/model is available; it was changed since it was verified, and is verified again"
        " later",
    )
    assert cluster.truth(ConditionType.READY) == "Unknown"


@pytest.mark.parametrize("writes", [1, 2])
def test_an_edit_is_not_lost_where_the_upgraded_operator_dies_before_it_writes_the_deployment(writes: int) -> None:
    cluster = of_earlier_release()
    cluster.change(serving={"runtime": "Transformers", "image": "mine:3"})
    for _ in range(2):
        cluster.reconcile(dies_after=1)
    cluster.reconcile(dies_after=writes)
    cluster.settle()
    assert image(cluster) == "mine:3"
