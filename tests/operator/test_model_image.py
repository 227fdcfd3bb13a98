"""serving.modelImage: the student is pushed to a registry after the gate, and served from it."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.evaluation import Evaluation, Score
from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from simulated_cluster import RUN_STAGES, SimulatedCluster

READY, AVAILABLE, PUBLISHED = ConditionType.READY, ConditionType.AVAILABLE, ConditionType.PUBLISHED
REPOSITORY = "registry.example/team/student"
IMAGE = {"repository": REPOSITORY, "credentials": {"secretName": "push"}}
FROM_IMAGE = {"runtime": "Transformers", "modelImage": IMAGE}
FROM_WORKSPACE = {"runtime": "Transformers"}
GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}


def served(serving: Any = FROM_IMAGE, **changes: Any) -> SimulatedCluster:
    """A cluster whose student is served and verified."""
    cluster = SimulatedCluster(serving=serving, **changes)
    cluster.run_stages(*Stage)
    assert cluster.truth(READY) == "True"
    return cluster


def deployment(cluster: SimulatedCluster) -> dict[str, Any]:
    return cluster.objects["Deployment", "conjnli"]


def pod_spec(cluster: SimulatedCluster) -> dict[str, Any]:
    found: dict[str, Any] = deployment(cluster)["spec"]["template"]["spec"]
    return found


def model_volume(cluster: SimulatedCluster) -> dict[str, Any]:
    """The volume that the student comes from."""
    volume: dict[str, Any] = pod_spec(cluster)["volumes"][0]
    return volume


def live_job(cluster: SimulatedCluster) -> dict[str, Any]:
    return cluster.job()


def message(cluster: SimulatedCluster) -> str:
    found = cluster.condition(READY)
    assert found is not None
    return found.message


def test_the_student_is_pushed_before_its_rollout() -> None:
    cluster = SimulatedCluster(serving=FROM_IMAGE)
    cluster.run_stages(*RUN_STAGES)
    assert (cluster.reason(), cluster.truth(PUBLISHED), cluster.status.progress) == (
        "Publishing",
        "False",
        "4/5 publish",
    )
    assert ("Deployment", "conjnli") not in cluster.objects
    cluster.run_stages(Stage.PUBLISH)
    image = cluster.record(Stage.PUBLISH).model_image
    assert image is not None
    assert image.startswith(f"{REPOSITORY}@sha256:")
    assert (cluster.reason(), cluster.truth(PUBLISHED)) == ("RollingOut", "True")
    assert model_volume(cluster) == {"name": "model", "image": {"reference": image, "pullPolicy": "IfNotPresent"}}
    cluster.run_stages(Stage.VERIFY)
    assert cluster.truth(READY) == "True"
    assert (cluster.status.serving and cluster.status.serving.model_image) == image
    assert cluster.status.history[0].model_image == image
    assert cluster.decisions() == ()


def test_a_student_that_fails_the_gate_is_pushed_nowhere() -> None:
    cluster = SimulatedCluster(serving=FROM_IMAGE, evaluation={"gate": {"minScore": 0.8}})
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    cluster.start()
    cluster.finish(evaluation=Evaluation(sample_size=150, student=Score(score=0.5), teacher=Score(score=0.9)))
    cluster.settle()
    assert (cluster.reason(), cluster.status.progress) == ("QualityGateFailed", "quality gate failed")
    assert not [name for name in cluster.created if "publish" in name]


def test_a_registry_that_refuses_stalls_and_the_student_before_serves_on() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    before = deployment(cluster)["spec"]
    cluster.start()
    cluster.fail(2, Reason.PUBLISH_FAILED, "the registry refuses the credentials of the Secret push")
    cluster.settle()
    assert (cluster.reason(), cluster.truth(ConditionType.STALLED), cluster.truth(AVAILABLE)) == (
        "PublishFailed",
        "True",
        "True",
    )
    assert message(cluster) == "publish: the registry refuses the credentials of the Secret push"
    assert (deployment(cluster)["spec"], cluster.decisions()) == (before, ())
    cluster.request_retry()
    cluster.run_stages(Stage.PUBLISH, Stage.VERIFY)
    assert cluster.truth(READY) == "True"
    assert cluster.status.serving is not None
    assert cluster.status.serving.train == cluster.plan.stage(Stage.TRAIN).input_hash


def test_who_asks_for_an_image_later_has_the_student_pushed_and_replaced_and_nothing_else() -> None:
    cluster = served(FROM_WORKSPACE)
    before, jobs = deployment(cluster)["spec"], set(cluster.jobs())
    cluster.change(serving=FROM_IMAGE)
    cluster.settle()
    assert (cluster.reason(), cluster.truth(AVAILABLE), deployment(cluster)["spec"]) == ("Publishing", "True", before)
    assert model_volume(cluster)["name"] == "workspace"
    cluster.run_stages(Stage.PUBLISH, Stage.VERIFY)
    assert (cluster.truth(READY), model_volume(cluster)["name"]) == ("True", "model")
    assert {name.split("-")[1] for name in set(cluster.jobs()) - jobs} == {"publish", "verify"}


def test_who_asks_for_no_image_any_more_has_it_served_from_the_workspace() -> None:
    cluster = served()
    cluster.change(serving=FROM_WORKSPACE)
    cluster.run_stages(Stage.VERIFY)
    assert (cluster.truth(READY), model_volume(cluster)["name"]) == ("True", "workspace")
    assert (cluster.truth(PUBLISHED), cluster.status.serving and cluster.status.serving.model_image) == (None, None)
    cluster.change(serving=FROM_IMAGE)
    cluster.run_stages(Stage.PUBLISH, Stage.VERIFY)
    assert (cluster.truth(READY), model_volume(cluster)["name"]) == ("True", "model")


def test_another_repository_is_pushed_to_before_anything_is_replaced() -> None:
    cluster = served()
    before = deployment(cluster)["spec"]
    other = {"repository": "other.example/student", "pullSecrets": ["pull"]}
    cluster.change(serving={**FROM_IMAGE, "modelImage": other})
    cluster.settle()
    assert (cluster.reason(), deployment(cluster)["spec"]) == ("Publishing", before)
    cluster.run_stages(Stage.PUBLISH, Stage.VERIFY)
    assert (cluster.truth(READY), pod_spec(cluster)["imagePullSecrets"]) == ("True", [{"name": "pull"}])
    assert model_volume(cluster)["image"]["reference"].startswith("other.example/student@sha256:")
    assert cluster.status.history[0].model_image == model_volume(cluster)["image"]["reference"]


def test_other_secrets_to_pull_with_replace_the_pods_and_push_nothing() -> None:
    cluster = served()
    assert pod_spec(cluster)["imagePullSecrets"] == [{"name": "push"}]
    jobs = len(cluster.jobs())
    cluster.change(serving={**FROM_IMAGE, "modelImage": {**IMAGE, "pullSecrets": ["pull", "mirror"]}})
    cluster.run_stages(Stage.VERIFY)
    assert (cluster.truth(READY), len(cluster.jobs()) <= jobs + 1) == ("True", True)
    assert pod_spec(cluster)["imagePullSecrets"] == [{"name": "pull"}, {"name": "mirror"}]


@pytest.mark.parametrize("modes", [["ReadWriteOnce"], ["ReadWriteMany"]])
def test_pods_that_need_no_volume_are_replaced_without_a_gap(modes: list[str]) -> None:
    cluster = served({**FROM_IMAGE, "replicas": 3}, storage={"accessModes": modes})
    assert deployment(cluster)["spec"]["strategy"]["type"] == "RollingUpdate"
    assert all("persistentVolumeClaim" not in volume for volume in pod_spec(cluster)["volumes"])


def test_stages_are_bound_to_the_servers_node_only_while_it_holds_the_volume() -> None:
    """On a ReadWriteOnce volume."""
    bound: dict[str, bool] = {}
    for name, serving in (("workspace", FROM_WORKSPACE), ("image", FROM_IMAGE)):
        cluster = served(serving)
        cluster.serving_pods[0]["spec"]["nodeName"] = "node-1"
        cluster.change(training={"seed": 7})
        cluster.settle()
        affinity = live_job(cluster)["spec"]["template"]["spec"].get("affinity") or {}
        bound[name] = "podAffinity" in affinity
    assert bound == {"workspace": True, "image": False}


@pytest.mark.parametrize(("serving", "waits"), [(FROM_WORKSPACE, True), (FROM_IMAGE, False)])
def test_a_server_of_an_image_keeps_its_gpu_unless_it_is_to_yield_it(serving: Any, waits: bool) -> None:
    """Another node may have a GPU for the training."""
    cluster = served({**serving, **GPU}, training=GPU)
    cluster.change(training={**GPU, "seed": 7})
    cluster.settle()
    assert (deployment(cluster)["spec"]["replicas"] == 0) is waits
    chosen = served({**serving, **GPU, "yieldGPU": True}, training=GPU)
    chosen.change(training={**GPU, "seed": 7})
    chosen.settle()
    assert deployment(chosen)["spec"]["replicas"] == 0


@pytest.mark.parametrize(("serving", "repaired"), [(FROM_WORKSPACE, False), (FROM_IMAGE, True)])
def test_a_server_of_an_image_outlives_the_claim(serving: Any, repaired: bool) -> None:
    cluster = served(serving)
    del cluster.objects["PersistentVolumeClaim", cluster.plan.claim_name]
    deployment(cluster)["spec"]["template"]["spec"]["containers"][0]["command"] = ["edited"]
    cluster.settle()
    assert (cluster.reason(), cluster.truth(AVAILABLE)) == ("WorkspaceLost", "True")
    assert (pod_spec(cluster)["containers"][0]["command"] != ["edited"]) is repaired


def test_an_earlier_run_is_served_from_its_own_image() -> None:
    cluster = served()
    first = cluster.status.history[0]
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH, Stage.VERIFY)
    assert model_volume(cluster)["image"]["reference"] != first.model_image
    cluster.change(serving={**FROM_IMAGE, "pinnedRun": first.train})
    cluster.settle()
    assert model_volume(cluster)["image"]["reference"] == first.model_image
    cluster.serve()
    cluster.settle()
    assert (cluster.truth(READY), cluster.status.serving and cluster.status.serving.model_image) == (
        "True",
        first.model_image,
    )


def test_a_server_whose_model_is_left_in_no_workspace_keeps_its_image() -> None:
    """Its folder was deleted (`storage.history`) before the run was pinned."""
    cluster = served(storage={"history": 1})
    first = cluster.status.history[0]
    for seed in (7, 8):
        cluster.change(training={"seed": seed})
        cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH, Stage.VERIFY)
    assert f"train-{first.train}" in cluster.status.prunable_folders
    cluster.change(serving={**FROM_IMAGE, "pinnedRun": first.train})
    cluster.settle()
    cluster.serve()
    cluster.settle()
    before = deployment(cluster)["spec"]
    assert model_volume(cluster)["image"]["reference"] == first.model_image
    cluster.change(serving={**FROM_WORKSPACE, "pinnedRun": first.train})
    cluster.settle()
    assert (cluster.reason(), cluster.truth(AVAILABLE), deployment(cluster)["spec"]) == ("InvalidSpec", "True", before)
    cluster.change(serving={**FROM_WORKSPACE, "pinnedRun": None})
    cluster.run_stages(Stage.VERIFY)
    assert (cluster.truth(READY), model_volume(cluster)["name"]) == ("True", "workspace")
    assert cluster.status.serving is not None
    assert cluster.status.serving.train == cluster.plan.stage(Stage.TRAIN).input_hash


def test_a_run_that_was_never_pushed_there_cannot_be_pinned() -> None:
    cluster = served(FROM_WORKSPACE)
    first = cluster.status.history[0].train
    cluster.change(training={"seed": 7}, serving=FROM_IMAGE)
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH, Stage.VERIFY)
    newest = cluster.status.history[0].train
    cluster.change(serving={**FROM_IMAGE, "pinnedRun": first})
    cluster.settle()
    assert cluster.reason() == "InvalidSpec"
    assert message(cluster) == (
        f"serving.pinnedRun: the run {first} was never pushed to {REPOSITORY} (serving.modelImage); known are {newest}."
        " Remove pinnedRun to serve the newest run"
    )
    assert cluster.truth(AVAILABLE) == "True"


def test_with_manual_promotion_the_image_is_there_before_the_promotion() -> None:
    cluster = SimulatedCluster(serving={**FROM_IMAGE, "rollout": {"strategy": "Manual"}})
    cluster.run_stages(*RUN_STAGES)
    assert cluster.reason() == "Publishing"
    cluster.run_stages(Stage.PUBLISH)
    assert cluster.reason() == "AwaitingPromotion"
    cluster.annotations["distillery.dev/promote"] = cluster.plan.stage(Stage.TRAIN).input_hash
    cluster.run_stages(Stage.VERIFY)
    assert cluster.truth(READY) == "True"


def test_a_new_student_whose_image_cannot_be_pulled_goes_back_to_the_one_before() -> None:
    cluster = served()
    good = model_volume(cluster)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.PUBLISH)
    image = model_volume(cluster)["image"]["reference"]
    assert model_volume(cluster) != good
    cluster.roll_out({"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}": not authorized'})
    cluster.settle()
    cluster.wait(600)
    cluster.settle()
    assert model_volume(cluster) == good
    assert (cluster.reason(), cluster.truth(ConditionType.STALLED)) == ("ImagePullError", "True")
    assert f"the image {image} cannot be pulled" in message(cluster)


def test_while_a_student_is_pushed_a_changed_server_of_the_one_before_is_not_verified() -> None:
    cluster = served()
    cluster.change(training={"seed": 7}, serving={**FROM_IMAGE, "image": "other:1"})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert live_job(cluster)["metadata"]["labels"]["app.kubernetes.io/component"] == "publish"
    cluster.run_stages(Stage.PUBLISH, Stage.VERIFY)
    assert cluster.truth(READY) == "True"


def test_without_a_server_nothing_is_pushed() -> None:
    cluster = SimulatedCluster(serving={**FROM_IMAGE, "mode": "None"})
    cluster.run_stages(*RUN_STAGES)
    assert (cluster.truth(READY), cluster.truth(PUBLISHED)) == ("True", None)


def test_the_pods_of_all_stages_and_of_the_server_are_checked_before_anything_is_paid() -> None:
    """A cluster that knows no image volumes refuses the last of them."""
    cluster = SimulatedCluster(serving=FROM_IMAGE)
    cluster.settle()
    volumes = [volume for pod in cluster.checked for volume in pod["spec"]["volumes"] if "image" in volume]
    train_hash = cluster.plan.stage(Stage.TRAIN).input_hash
    assert [volume["image"]["reference"] for volume in volumes] == [f"{REPOSITORY}:{train_hash}"]


def test_the_credentials_are_a_file_of_the_publish_stage_alone() -> None:
    cluster = served()
    holding = []
    for (kind, name), found in cluster.objects.items():
        if kind in ("Job", "Deployment") and "push" in str(found["spec"]["template"]["spec"].get("volumes")):
            holding.append((kind, name.split("-")[1] if "-" in name else name))
    assert holding == [("Job", "publish")]
    job = next(found for (kind, name), found in cluster.objects.items() if kind == "Job" and "publish" in name)
    spec = job["spec"]["template"]["spec"]
    assert {"name": "DOCKER_CONFIG", "value": "/etc/registry-credentials"} in spec["containers"][0]["env"]
    assert spec["volumes"][2] == {
        "name": "registry-credentials",
        "secret": {"secretName": "push", "items": [{"key": ".dockerconfigjson", "path": "config.json"}]},
    }


def test_a_pinned_newest_run_that_is_still_to_be_pushed_is_waited_for() -> None:
    cluster = served(FROM_WORKSPACE)
    newest = cluster.plan.stage(Stage.TRAIN).input_hash
    cluster.change(serving={**FROM_IMAGE, "pinnedRun": newest})
    cluster.settle()
    assert (cluster.reason(), cluster.truth(ConditionType.STALLED), cluster.truth(READY)) == (
        "Publishing",
        None,
        "Unknown",
    )
    cluster.start()
    cluster.fail(2, Reason.PUBLISH_FAILED, "the registry refuses the credentials of the Secret push")
    cluster.settle()
    assert message(cluster) == "publish: the registry refuses the credentials of the Secret push"
    cluster.request_retry()
    cluster.settle()
    cluster.start()
    cluster.finish()
    cluster.reconcile()
    assert (cluster.reason(), cluster.truth(ConditionType.STALLED)) == ("Publishing", None)
    cluster.run_stages(Stage.VERIFY)
    assert (cluster.truth(READY), model_volume(cluster)["name"]) == ("True", "model")


def test_a_pinned_newest_run_that_fails_the_gate_is_never_pushed_and_says_so() -> None:
    cluster = SimulatedCluster(serving=FROM_WORKSPACE, evaluation={"gate": {"minScore": 0.8}})
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    cluster.start()
    cluster.finish(evaluation=Evaluation(sample_size=150, student=Score(score=0.5), teacher=Score(score=0.9)))
    newest = cluster.plan.stage(Stage.TRAIN).input_hash
    cluster.change(serving={**FROM_IMAGE, "pinnedRun": newest})
    cluster.settle()
    assert cluster.reason(ConditionType.STALLED) == "InvalidSpec"
    assert f"the run {newest} was never pushed to {REPOSITORY}" in message(cluster)


def test_several_servers_wait_for_the_image_on_a_volume_of_one_node() -> None:
    cluster = served(FROM_WORKSPACE)
    cluster.change(serving={**FROM_IMAGE, "replicas": 3})
    cluster.settle()
    assert (model_volume(cluster)["name"], deployment(cluster)["spec"]["replicas"]) == ("workspace", 1)
    cluster.run_stages(Stage.PUBLISH)
    assert (model_volume(cluster)["name"], deployment(cluster)["spec"]["replicas"]) == ("model", 3)
    cluster.run_stages(Stage.VERIFY)
    assert (cluster.truth(READY), cluster.decisions()) == ("True", ())


def test_several_servers_wait_for_nothing_on_a_volume_of_many_nodes() -> None:
    cluster = served(FROM_WORKSPACE, storage={"accessModes": ["ReadWriteMany"]})
    cluster.change(serving={**FROM_IMAGE, "replicas": 3})
    cluster.settle()
    assert (model_volume(cluster)["name"], deployment(cluster)["spec"]["replicas"]) == ("workspace", 3)
    assert cluster.reason() == "Publishing"


def test_a_server_from_an_image_that_goes_back_to_the_workspace_does_so_with_one_pod() -> None:
    cluster = served({**FROM_IMAGE, "replicas": 3})
    elsewhere = {**FROM_IMAGE, "modelImage": {"repository": "other.example/student"}}
    cluster.change(serving={**elsewhere, "replicas": 3})
    cluster.settle()
    assert (model_volume(cluster)["name"], deployment(cluster)["spec"]["replicas"]) == ("model", 3)


def test_on_the_way_back_to_the_workspace_of_one_node_one_pod_serves() -> None:
    cluster = served(FROM_WORKSPACE)
    cluster.change(serving={**FROM_IMAGE, "replicas": 3})
    cluster.run_stages(Stage.PUBLISH)
    assert (model_volume(cluster)["name"], deployment(cluster)["spec"]["replicas"]) == ("model", 3)
    cluster.roll_out({"reason": "ErrImagePull", "message": "not found"})
    cluster.settle()
    cluster.wait(600)
    cluster.settle()
    assert (model_volume(cluster)["name"], deployment(cluster)["spec"]["replicas"]) == ("workspace", 1)
