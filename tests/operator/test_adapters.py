"""`serving.adapter: LoRA`: a new student is loaded into the Pods that run, whatever the volume."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType, ServingStatus
from distillery_operator.core.actions import DryRun
from simulated_cluster import SimulatedCluster

READY, STALLED, AVAILABLE = ConditionType.READY, ConditionType.STALLED, ConditionType.AVAILABLE
ADAPTERS = ("ConfigMap", "conjnli-adapters")
SERVED_AS_ADAPTER = {"serving": {"runtime": "VLLM", "adapter": "LoRA", "modelNames": ["gpt-4o"]}}

Raw = dict[str, Any]


def served(**changes: Any) -> SimulatedCluster:
    cluster = SimulatedCluster(**SERVED_AS_ADAPTER, **changes)
    cluster.run_stages(*Stage)
    assert cluster.truth(READY) == "True"
    return cluster


def with_new_student(**changes: Any) -> SimulatedCluster:
    """A served student, and a new one that is to be loaded; no Pod is touched."""
    cluster = served(**changes)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    return cluster


def template(cluster: SimulatedCluster) -> Raw:
    found: Raw = copy.deepcopy(cluster.objects["Deployment", "conjnli"]["spec"]["template"])
    return found


def wanted(cluster: SimulatedCluster) -> Raw:
    """The adapters that the Pods load."""
    found: Raw = json.loads(cluster.objects[ADAPTERS]["data"]["adapters.json"])
    return found


def trained(cluster: SimulatedCluster) -> str:
    return cluster.plan.stage(Stage.TRAIN).folder


def serving(cluster: SimulatedCluster) -> ServingStatus:
    assert cluster.status.serving is not None
    return cluster.status.serving


def run_config(cluster: SimulatedCluster, stage: Stage) -> Raw:
    name = f"conjnli-{cluster.plan.stage(stage).folder}"
    found: Raw = json.loads(cluster.objects["ConfigMap", name]["data"]["run.json"])
    return found


def verify_well(cluster: SimulatedCluster) -> None:
    cluster.start()
    cluster.finish()
    cluster.settle()


def verify_badly(cluster: SimulatedCluster) -> None:
    cluster.start()
    cluster.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    cluster.settle()


@pytest.mark.parametrize("storage", [{}, {"accessModes": ["ReadWriteMany"]}], ids=["one node", "many nodes"])
def test_a_new_student_is_loaded_into_the_pods_that_run(storage: Raw) -> None:
    cluster = served(storage=storage)
    before, first, pods = template(cluster), trained(cluster), list(cluster.serving_pods)
    assert wanted(cluster) == {"conjnli": f"/adapters/{first}", "gpt-4o": f"/adapters/{first}"}

    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    new = trained(cluster)
    assert wanted(cluster) == {"conjnli": f"/adapters/{new}", "gpt-4o": f"/adapters/{new}"}
    assert cluster.record(Stage.VERIFY).attempts == 1, "verify begins at once: no Pod has to start"
    assert run_config(cluster, Stage.VERIFY)["servedAdapter"] == f"/adapters/{new}"
    now = serving(cluster)
    assert (now.model_path, now.candidate and now.candidate.model_path) == (f"{first}/model", f"{new}/model")
    assert (cluster.truth(AVAILABLE), cluster.truth(READY)) == ("True", "Unknown")

    verify_well(cluster)
    assert (template(cluster), cluster.serving_pods) == (before, pods)
    assert (serving(cluster).model_path, serving(cluster).candidate) == (f"{new}/model", None)
    assert cluster.truth(READY) == "True"
    assert cluster.decisions() == ()


def test_the_status_names_the_new_student_as_soon_as_it_is_verified() -> None:
    cluster = with_new_student()
    cluster.start()
    cluster.finish()
    cluster.reconcile()
    assert serving(cluster).model_path == f"{trained(cluster)}/model"
    assert cluster.truth(READY) == "True"


def test_a_student_that_answers_otherwise_is_taken_back_without_another_pod() -> None:
    cluster = with_new_student()
    before, new = template(cluster), trained(cluster)
    old = serving(cluster).model_path
    verify_badly(cluster)
    assert template(cluster) == before
    assert wanted(cluster)["conjnli"] == f"/adapters/{str(old).removesuffix('/model')}"
    assert (cluster.reason(), cluster.truth(STALLED), cluster.truth(AVAILABLE)) == (
        "VerificationFailed",
        "True",
        "True",
    )
    found = serving(cluster)
    assert found.failed_rollout is not None
    assert (found.model_path, f"train-{found.failed_rollout.train}") == (old, new)
    settled = wanted(cluster)
    cluster.wait(3600)
    cluster.settle()
    assert wanted(cluster) == settled, "what failed is not tried again by itself"

    cluster.request_retry()
    cluster.settle()
    assert wanted(cluster)["conjnli"] == f"/adapters/{new}"
    verify_well(cluster)
    assert cluster.truth(READY) == "True"


@pytest.mark.parametrize("writes", range(1, 5))
def test_an_operator_that_dies_in_the_swap_carries_on(writes: int) -> None:
    cluster = served()
    before = template(cluster)
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN)
    cluster.start()
    cluster.finish()
    cluster.reconcile(dies_after=writes)
    cluster.settle()
    assert wanted(cluster)["conjnli"] == f"/adapters/{trained(cluster)}"
    verify_well(cluster)
    assert (cluster.truth(READY), template(cluster)) == ("True", before)


def test_a_student_of_another_rank_or_base_model_needs_other_pods() -> None:
    cluster = served()
    before = template(cluster)
    cluster.change(training={"lora": {"rank": 4}})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert template(cluster) == before, "the server was started for rank 8"
    verify_well(cluster)
    for change in ({"training": {"lora": {"rank": 12}}}, {"student": {"model": {"uri": "hf://org/other"}}}):
        before = template(cluster)
        cluster.change(**change)
        cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
        assert template(cluster) != before
        assert cluster.truth(READY) == "True"


def test_the_server_that_serves_a_merged_model_is_kept_until_the_adapter_is_trained_and_the_other_way_round() -> None:
    cluster = SimulatedCluster(serving={"runtime": "VLLM"})
    cluster.run_stages(*Stage)
    merged = template(cluster)
    cluster.change(serving={"runtime": "VLLM", "adapter": "LoRA"})
    cluster.settle()
    assert (template(cluster), cluster.truth(AVAILABLE), ADAPTERS in cluster.objects) == (merged, "True", False)
    assert cluster.live_jobs()[-1]["metadata"]["name"].startswith("conjnli-train-")
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    as_adapter = template(cluster)
    assert (as_adapter != merged, cluster.truth(READY), ADAPTERS in cluster.objects) == (True, "True", True)

    cluster.change(serving={"runtime": "VLLM"}, training={"seed": 7})
    cluster.settle()
    assert (template(cluster), ADAPTERS in cluster.objects) == (as_adapter, True)
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert (template(cluster) != as_adapter, cluster.truth(READY)) == (True, "True")
    assert ADAPTERS not in cluster.objects


def test_the_adapters_are_repaired_and_deleted_with_the_server() -> None:
    cluster = served()
    right = wanted(cluster)
    cluster.objects[ADAPTERS]["data"]["adapters.json"] = "{}"
    cluster.settle()
    assert wanted(cluster) == right
    cluster.delete(*ADAPTERS)
    cluster.settle()
    assert wanted(cluster) == right
    assert cluster.truth(READY) == "True"
    cluster.change(serving={**SERVED_AS_ADAPTER["serving"], "mode": "None"})
    cluster.settle()
    assert ADAPTERS not in cluster.objects


def test_a_config_map_of_somebody_else_is_a_name_conflict_before_anything_is_paid() -> None:
    cluster = SimulatedCluster(**SERVED_AS_ADAPTER)
    cluster.objects[ADAPTERS] = {"kind": "ConfigMap", "metadata": {"name": "conjnli-adapters"}, "data": {"a": "b"}}
    cluster.settle()
    assert (cluster.reason(), cluster.live_jobs()) == ("NameConflict", [])
    assert cluster.objects[ADAPTERS]["data"] == {"a": "b"}


def test_a_deleted_deployment_comes_back_with_its_adapter() -> None:
    cluster = served()
    first, right = template(cluster), wanted(cluster)
    cluster.change(training={"seed": 7})
    cluster.settle()
    cluster.delete("Deployment", "conjnli")
    cluster.serving_pods = []
    cluster.settle()
    assert (template(cluster), wanted(cluster)) == (first, right)


def test_an_earlier_student_that_is_pinned_is_loaded_into_the_pods_that_run() -> None:
    cluster = served()
    before, first = template(cluster), wanted(cluster)
    name = trained(cluster).removeprefix("train-")
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    verify_well(cluster)
    assert wanted(cluster) != first
    cluster.change(serving={**SERVED_AS_ADAPTER["serving"], "pinnedRun": name})
    cluster.settle()
    assert (template(cluster), wanted(cluster)) == (before, first)


def test_a_swap_asks_for_no_room_in_a_quota() -> None:
    cluster = served()
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN)
    cluster.start()
    cluster.finish()
    assert not [action for action in cluster.decisions() if isinstance(action, DryRun)]
