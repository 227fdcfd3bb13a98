"""A training on several nodes: its Job and Service, and which of its Pods says where it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.several_pods import telling_pod
from simulated_cluster import SimulatedCluster
from simulated_life import SimulatedLife

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHARED = {"accessModes": ["ReadWriteMany"]}
Raw = dict[str, Any]


def test_a_training_on_several_nodes_is_an_indexed_job_with_a_service_for_its_names() -> None:
    cluster = SimulatedLife(training={"nodes": 2, "gpusPerNode": 4}, storage=SHARED)
    cluster.reach(Stage.TRAIN)
    service, job = cluster.objects["Service", "conjnli-training"], cluster.job()
    assert service["spec"]["clusterIP"] == "None"
    assert (job["spec"]["completionMode"], job["spec"]["parallelism"]) == ("Indexed", 2)
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == "conjnli-training"
    variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert variables["DISTILLERY_NODES"] == "2"
    assert variables["DISTILLERY_RENDEZVOUS"] == f"{job['metadata']['name']}-0.conjnli-training:29400"
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_the_evaluation_after_it_has_one_pod_with_the_gpus_of_one_node() -> None:
    cluster = SimulatedLife(training={"nodes": 2, "gpusPerNode": 4}, storage=SHARED)
    cluster.reach(Stage.TRAIN)
    cluster.complete()
    cluster.reach(Stage.EVALUATE)
    job = cluster.job()
    assert job["spec"]["parallelism"] == 1
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert processes_of_the_evaluation(cluster) == 4


@pytest.mark.parametrize(
    "own",
    [
        {"resources": {"limits": {"nvidia.com/gpu": 1}}},
        {"podTemplate": {"spec": {"containers": [{"name": "stage", "resources": {"limits": {"cpu": 4}}}]}}},
    ],
)
def test_an_evaluation_with_resources_of_its_own_is_one_process(own: Raw) -> None:
    cluster = SimulatedLife(training={"gpusPerNode": 4}, evaluation=own)
    cluster.reach(Stage.TRAIN)
    cluster.complete()
    cluster.reach(Stage.EVALUATE)
    assert processes_of_the_evaluation(cluster) is None


def test_processes_that_are_to_share_the_cpu_see_no_gpu_in_both_stages() -> None:
    cluster = SimulatedLife(training={"gpusPerNode": 2, "resources": {"limits": {"nvidia.com/gpu": 0}}})
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        cluster.reach(stage)
        variables = cluster.job()["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "CUDA_VISIBLE_DEVICES", "value": ""} in variables
        cluster.complete()


def processes_of_the_evaluation(cluster: SimulatedLife) -> int | None:
    name = cluster.job()["spec"]["template"]["spec"]["volumes"]
    (config,) = (each["configMap"]["name"] for each in name if each["name"] == "config")
    return RunConfig.model_validate_json(cluster.objects["ConfigMap", config]["data"]["run.json"]).processes


def test_gpus_that_no_process_of_the_training_uses_are_named_while_it_runs() -> None:
    cluster = SimulatedLife(training={"resources": {"limits": {"nvidia.com/gpu": 4}}})
    idle = "one process uses one; set training.gpusPerNode to 4, or ask for one GPU"
    cluster.reach(Stage.GENERATE)
    assert idle not in ready_message(cluster)
    cluster.complete()
    cluster.reach(Stage.TRAIN)
    assert ready_message(cluster).endswith(f"; of the 4 GPUs in training.resources, {idle}")


def ready_message(cluster: SimulatedLife) -> str:
    ready = cluster.condition(ConditionType.READY)
    assert ready is not None
    return ready.message


def test_a_claim_that_one_node_alone_can_mount_is_refused_with_what_to_name_instead() -> None:
    cluster = SimulatedCluster(training={"nodes": 2}, storage={"claimName": "mine"})
    cluster.objects["PersistentVolumeClaim", "mine"] = {
        "metadata": {"name": "mine", "uid": "1"},
        "spec": {"accessModes": ["ReadWriteOnce"]},
        "status": {"phase": "Bound"},
    }
    cluster.settle()
    assert cluster.reason() == Reason.INVALID_SPEC
    assert cluster.live_jobs() == []


def pod(index: int, created: int = 0, **status: Any) -> Raw:
    labels = {"batch.kubernetes.io/job-completion-index": str(index)}
    metadata = {
        "name": f"train-{index}-{created}",
        "labels": labels,
        "creationTimestamp": f"2026-01-01T00:00:0{created}Z",
    }
    return {"metadata": metadata, "spec": {"containers": []}, "status": {"phase": "Running", **status}}


def ended(code: int, message: str = "") -> Raw:
    terminated = {"exitCode": code, "message": message}
    return {"containerStatuses": [{"name": "stage", "state": {"terminated": terminated}}]}


RESULT = '{"stage": "train", "folder": "train-0", "state": "Failed", "exitCode": 2, "reason": "OutOfMemory"}'
NO_ROOM = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}
EVICTED = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize(
    ("pods", "telling"),
    [
        ([], None),
        ([pod(1), pod(0), pod(2)], "train-0-0"),
        ([pod(0, **ended(0)), pod(1, **ended(0))], "train-0-0"),
        ([pod(0), pod(1, **NO_ROOM)], "train-1-0"),
        ([pod(0, **ended(3)), pod(1, **ended(2, RESULT)), pod(2, **NO_ROOM)], "train-1-0"),
        ([pod(0, **ended(1)), pod(1, **EVICTED)], "train-1-0"),
        ([pod(0), pod(1, **EVICTED), pod(1, created=1)], "train-0-0"),
    ],
)
def test_the_pod_that_tells_most_says_where_the_training_is(pods: list[Raw], telling: str | None) -> None:
    found = telling_pod(pods, (), NOW)
    assert (found and found["metadata"]["name"]) == telling
