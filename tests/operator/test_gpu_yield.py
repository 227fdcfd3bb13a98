"""A student is trained on the GPU of the one that is served: the server stops for it, and always comes back."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.errors import Forbidden, Invalid
from simulated_cluster import SimulatedCluster, written
from simulated_kueue import SimulatedKueue

GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}


def served(serving: dict[str, Any] | None = None, **changes: Any) -> SimulatedCluster:
    """A student is served by a Pod that has a GPU."""
    changes = {"training": GPU, "evaluation": GPU, "serving": {**GPU, **(serving or {})}} | changes
    cluster = SimulatedCluster(**changes)
    cluster.run_stages(*Stage)
    cluster.start_server()
    cluster.settle()
    return cluster


def retrained(cluster: SimulatedCluster) -> SimulatedCluster:
    """Another student is asked for."""
    cluster.change(training={**cluster.spec["training"], "seed": 7})
    cluster.settle()
    return cluster


def training(serving: dict[str, Any] | None = None, **changes: Any) -> SimulatedCluster:
    """The server has stopped, and the Job of the next student has a Pod."""
    cluster = retrained(served(serving, **changes))
    cluster.stop_server()
    cluster.settle()
    return cluster


def replicas(cluster: SimulatedCluster) -> int:
    count: int = cluster.objects["Deployment", "conjnli"]["spec"]["replicas"]
    return count


def job_names(cluster: SimulatedCluster, stage: str) -> list[str]:
    return [name for name in cluster.jobs() if name.startswith(f"conjnli-{stage}")]


def test_the_server_stops_before_the_training_starts_and_the_status_says_why() -> None:
    cluster = retrained(served())
    assert (replicas(cluster), len(job_names(cluster, "train"))) == (0, 0)
    assert cluster.reason(ConditionType.RECONCILING) == "Queued"
    reconciling = cluster.condition(ConditionType.RECONCILING)
    assert reconciling is not None
    assert reconciling.message == (
        "train: waiting for the student's server to stop: this stage uses its GPU (serving.yieldGPU)"
    )
    cluster.stop_server()
    cluster.settle()
    assert len(job_names(cluster, "train")) == 1
    available = cluster.condition(ConditionType.AVAILABLE)
    assert available is not None
    assert (str(available.status), available.reason, available.message) == (
        "False",
        "YieldedGPU",
        "the server of train-nxevyml5/model is stopped while train uses its GPU, and starts again afterwards",
    )
    assert (cluster.truth(ConditionType.READY), cluster.reason()) == ("False", "Training")
    affinity = cluster.job()["spec"]["template"]["spec"].get("affinity", {})
    assert "podAffinity" not in affinity


def test_the_server_stays_down_from_the_training_to_the_end_of_the_evaluation() -> None:
    cluster = training()
    cluster.start()
    cluster.finish()
    cluster.settle()
    assert (replicas(cluster), len(job_names(cluster, "evaluate"))) == (0, 1)
    cluster.start()
    cluster.finish()
    cluster.settle()
    deployment = cluster.objects["Deployment", "conjnli"]
    assert replicas(cluster) == 1
    assert deployment["metadata"]["annotations"]["distillery.dev/model-path"] == cluster.plan.model_path


def test_the_old_student_is_served_during_an_evaluation_without_a_gpu() -> None:
    cluster = training(evaluation={"resources": {"limits": {"cpu": 1}}})
    cluster.start()
    cluster.finish()
    cluster.settle()
    deployment = cluster.objects["Deployment", "conjnli"]
    assert (replicas(cluster), len(job_names(cluster, "evaluate"))) == (1, 1)
    assert deployment["metadata"]["annotations"]["distillery.dev/model-path"] == "train-nxevyml5/model"


def test_a_server_that_is_lost_with_its_node_is_not_waited_for() -> None:
    cluster = retrained(served())
    cluster.pods["conjnli-server"]["metadata"]["deletionTimestamp"] = written(cluster.now)
    cluster.wait(59)
    cluster.settle()
    assert job_names(cluster, "train") == []
    cluster.wait(1)
    cluster.settle()
    assert len(job_names(cluster, "train")) == 1
    assert "affinity" not in cluster.job()["spec"]["template"]["spec"]


def test_rows_are_generated_while_the_student_is_served() -> None:
    cluster = served()
    cluster.change(data={**cluster.spec["data"], "version": "2"})
    cluster.settle()
    assert (replicas(cluster), len(job_names(cluster, "generate"))) == (1, 1)


def test_a_failed_training_brings_the_server_back() -> None:
    cluster = training()
    cluster.start()
    cluster.fail(2, Reason.TRAINING_FAILED, "the loss is not a number")
    cluster.settle()
    assert (replicas(cluster), cluster.reason(ConditionType.STALLED)) == (1, "TrainingFailed")


def test_between_two_attempts_the_server_stays_down() -> None:
    cluster = training()
    cluster.start()
    cluster.fail(1)
    cluster.settle()
    assert (replicas(cluster), cluster.reason()) == (0, "ProgressingWithRetry")


def test_a_suspended_training_brings_the_server_back() -> None:
    cluster = training()
    cluster.start()
    cluster.change(suspend=True)
    cluster.settle()
    assert (replicas(cluster), cluster.reason()) == (1, "Suspended")
    cluster.start_server()
    cluster.change(suspend=False)
    cluster.settle()
    assert replicas(cluster) == 0


@pytest.mark.parametrize(("kept", "seconds"), [("ErrImagePull", 600), (None, 3600)])
def test_a_training_that_does_not_start_is_given_up_with_its_gpu(kept: str | None, seconds: int) -> None:
    cluster = training()
    if kept:
        cluster.wait_for(kept, "no such image")
    else:
        cluster.find_no_room()
    cluster.settle()
    assert replicas(cluster) == 0
    cluster.wait(seconds)
    cluster.settle()
    reason = "ImagePullError" if kept else "Unschedulable"
    assert (replicas(cluster), cluster.reason(ConditionType.STALLED)) == (1, reason)
    assert job_names(cluster, "train") == []
    assert not [name for name in cluster.pods if "train" in name]

    cluster.start_server()
    cluster.wait(1)
    cluster.request_retry()
    cluster.settle()
    assert replicas(cluster) == 0
    cluster.stop_server()
    cluster.settle()
    assert cluster.record(Stage.TRAIN).attempts == 2


def test_the_server_is_not_stopped_for_a_training_that_the_server_of_the_api_refuses() -> None:
    cluster = served()
    cluster.refuses["create", "Pod"] = Invalid("Pod is invalid: spec.nodeSelectr: unknown field")
    retrained(cluster)
    assert (replicas(cluster), cluster.reason(ConditionType.STALLED)) == (1, "InvalidSpec")


def quota(resource: str) -> Forbidden:
    message = f"pods is forbidden: exceeded quota: team, requested: {resource}=1, used: {resource}=1, limited: 1"
    return Forbidden(message)


def test_a_quota_that_the_server_itself_fills_has_room_once_the_server_has_stopped() -> None:
    cluster = served()
    cluster.refuses["create", "Pod"] = quota("requests.nvidia.com/gpu")
    retrained(cluster)
    assert replicas(cluster) == 0
    cluster.stop_server()
    cluster.settle()
    assert (replicas(cluster), cluster.reason()) == (0, "Queued")
    del cluster.refuses["create", "Pod"]
    cluster.settle()
    assert len(job_names(cluster, "train")) == 1


def test_for_a_quota_that_others_fill_the_server_is_not_stopped() -> None:
    cluster = served()
    cluster.refuses["create", "Pod"] = quota("requests.cpu")
    retrained(cluster)
    assert (replicas(cluster), cluster.reason()) == (1, "Queued")


def test_replicas_stay_what_the_user_asks_for() -> None:
    cluster = training()
    cluster.change(serving={**cluster.spec["serving"], "replicas": 0})
    cluster.settle()
    assert replicas(cluster) == 0
    assert cluster.reason(ConditionType.AVAILABLE) == "RollingOut"
    cluster.change(serving={**cluster.spec["serving"], "replicas": 1})
    cluster.start()
    cluster.finish()
    cluster.start() if not cluster.settle() else None
    cluster.finish()
    cluster.settle()
    assert replicas(cluster) == 1


NO_GPU = {"resources": {"limits": {"cpu": 1}}}
SHARED = {"accessModes": ["ReadWriteMany"]}


@pytest.mark.parametrize(
    ("changes", "yields"),
    [
        ({}, True),
        ({"serving": {"yieldGPU": True}}, True),
        ({"serving": {"yieldGPU": False}}, False),
        ({"storage": SHARED}, False),
        ({"storage": SHARED, "serving": {"yieldGPU": True}}, True),
        ({"training": NO_GPU}, False),
        ({"serving": NO_GPU}, False),
        ({"serving": {**NO_GPU, "yieldGPU": True}}, False),
    ],
)
def test_the_server_yields_where_it_competes_with_the_training(changes: dict[str, Any], yields: bool) -> None:
    cluster = served(**changes)
    retrained(cluster)
    assert replicas(cluster) == (0 if yields else 1)
    assert len(job_names(cluster, "train")) == (0 if yields else 1)


def test_without_room_and_without_yielding_the_status_says_so_and_is_stalled_after_a_time() -> None:
    cluster = retrained(served(serving={"yieldGPU": False}))
    cluster.find_no_room()
    cluster.settle()
    reconciling = cluster.condition(ConditionType.RECONCILING)
    assert reconciling is not None
    assert (reconciling.reason, reconciling.message) == (
        "Unschedulable",
        "train: there is no room beside the served student; set serving.yieldGPU to true, which stops the server for"
        " this stage, or add a GPU: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    )
    cluster.wait(3599)
    cluster.settle()
    assert cluster.reason(ConditionType.STALLED) is None
    cluster.wait(1)
    cluster.settle()
    assert cluster.reason(ConditionType.STALLED) == "Unschedulable"
    cluster.start()
    cluster.settle()
    assert (cluster.reason(ConditionType.STALLED), replicas(cluster)) == (None, 1)


def test_without_a_gpu_the_status_says_how_to_make_room_on_the_node_of_the_volume() -> None:
    cluster = retrained(served(training={}, serving={"runtime": "Transformers", "resources": NO_GPU["resources"]}))
    cluster.find_no_room("0/1 nodes are available: 1 Insufficient cpu.")
    cluster.settle()
    reconciling = cluster.condition(ConditionType.RECONCILING)
    assert reconciling is not None
    assert reconciling.message == (
        "train: there is no room beside the served student; lower the resources of the stage, or set"
        " serving.replicas to 0 until it ends: 0/1 nodes are available: 1 Insufficient cpu."
    )
    cluster.wait(3600)
    cluster.settle()
    assert cluster.reason(ConditionType.STALLED) == "Unschedulable"
    cluster.change(serving={**cluster.spec["serving"], "replicas": 0})
    cluster.settle()
    cluster.stop_server()
    cluster.settle()
    assert "affinity" not in cluster.job()["spec"]["template"]["spec"]


def test_yielding_may_be_chosen_while_the_training_already_waits_for_room() -> None:
    cluster = retrained(served(serving={"yieldGPU": False}))
    cluster.find_no_room()
    cluster.settle()
    cluster.change(serving={**cluster.spec["serving"], "yieldGPU": True})
    cluster.settle()
    assert (replicas(cluster), job_names(cluster, "train")) == (0, [])
    cluster.stop_server()
    cluster.settle()
    assert "affinity" not in cluster.job()["spec"]["template"]["spec"]
    assert cluster.record(Stage.TRAIN).attempts == 1


@pytest.mark.parametrize("kind", ["Job", "ConfigMap"])
def test_the_server_comes_back_while_the_job_of_the_training_is_refused(kind: str) -> None:
    cluster = retrained(served())
    cluster.refuses["create", kind] = Forbidden('admission webhook "p" denied the request: no')
    cluster.stop_server()
    cluster.settle()
    assert (replicas(cluster), cluster.reason(ConditionType.STALLED)) == (1, "PodRefused")
    cluster.start_server()
    cluster.settle()
    assert (replicas(cluster), cluster.reason(ConditionType.STALLED)) == (1, "PodRefused")
    del cluster.refuses["create", kind]
    cluster.settle()
    assert (replicas(cluster), len(job_names(cluster, "train"))) == (0, 1)
    assert "affinity" not in cluster.job()["spec"]["template"]["spec"]
    assert cluster.record(Stage.TRAIN).attempts == 1


def in_queue(**queue: Any) -> tuple[SimulatedCluster, SimulatedKueue]:
    """Another student is asked for, whose training waits in a queue."""
    cluster = served()
    cluster.change(queue={"name": "team", **queue})
    kueue = SimulatedKueue(cluster)
    retrained(cluster)
    kueue.pass_by()
    cluster.settle()
    return cluster, kueue


def test_the_server_answers_until_the_training_is_admitted_from_its_queue() -> None:
    cluster, kueue = in_queue()
    job = job_names(cluster, "train")
    assert (replicas(cluster), len(job), cluster.reason()) == (1, 1, "Queued")
    kueue.admit()
    cluster.settle()
    cluster.find_no_room("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    cluster.settle()
    assert (replicas(cluster), job_names(cluster, "train")) == (0, job)
    cluster.stop_server()
    cluster.settle()
    assert (replicas(cluster), job_names(cluster, "train")) == (0, job)
    cluster.start()
    cluster.settle()
    assert (replicas(cluster), cluster.reason()) == (0, "Training")
    kueue.preempt()
    cluster.settle()
    assert (replicas(cluster), cluster.record(Stage.TRAIN).attempts) == (1, 1)


def test_a_server_in_the_same_queue_gives_its_share_first() -> None:
    cluster, _ = in_queue(serving=True)
    assert (replicas(cluster), job_names(cluster, "train")) == (0, [])
