"""Models of older runs are deleted, and never one that serves or may have to again."""

from __future__ import annotations

import json
from typing import Any

from distillery_api.stage import Stage
from distillery_operator.planning.adapters import base_folder
from simulated_cluster import SimulatedCluster


def trained(cluster: SimulatedCluster, seed: int) -> str:
    """A run with this seed, up to its verification; the folder of its model."""
    cluster.change(training={"seed": seed})
    cluster.settle()
    folder = cluster.plan.stage(Stage.TRAIN).folder
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    return folder


def after_runs(count: int, **changes: Any) -> tuple[SimulatedCluster, list[str]]:
    """So many finished runs, and the folders of their models, oldest first."""
    cluster = SimulatedCluster(training={"seed": 0}, **changes)
    cluster.run_stages(Stage.GENERATE)
    return cluster, [trained(cluster, seed) for seed in range(count)]


def folders_to_delete(cluster: SimulatedCluster, stage: Stage) -> list[str]:
    """What the configuration of a stage tells it to delete."""
    text = cluster.objects["ConfigMap", f"conjnli-{cluster.plan.stage(stage).folder}"]["data"]["run.json"]
    folders: list[str] = json.loads(text).get("prune", [])
    return folders


def test_the_models_of_the_last_five_runs_are_kept() -> None:
    cluster, folders = after_runs(5)
    assert cluster.status.prunable_folders == ()
    folders.append(trained(cluster, 5))
    assert cluster.status.prunable_folders == (folders[0],)
    assert folders_to_delete(cluster, Stage.VERIFY) == [folders[0]]


def test_storage_history_says_how_many() -> None:
    cluster, folders = after_runs(3, storage={"history": 1})
    assert list(cluster.status.prunable_folders) == folders[:2]
    cluster.change(storage={"history": 3})
    cluster.settle()
    assert list(cluster.status.prunable_folders) == folders[:2]


def test_nothing_is_deleted_before_a_later_run_is_trained() -> None:
    cluster, folders = after_runs(2, storage={"history": 1})
    cluster.change(training={"seed": 70})
    cluster.settle()
    assert folders_to_delete(cluster, Stage.TRAIN) == []
    cluster.change(training={"seed": 71})
    cluster.settle()
    abandoned, planned = cluster.status.prunable_folders[-1], cluster.plan.stage(Stage.TRAIN).folder
    assert abandoned not in (*folders, planned)
    cluster.change(training={"seed": 70})
    cluster.settle()
    assert abandoned not in cluster.status.prunable_folders


def test_the_model_that_serves_is_kept_while_no_later_one_takes_over() -> None:
    gate = {"gate": {"minScore": 0.99}}
    cluster, folders = after_runs(1, storage={"history": 1})
    cluster.change(evaluation=gate)
    for seed in (11, 12, 13):
        cluster.change(training={"seed": seed})
        cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert cluster.objects["Deployment", "conjnli"]["metadata"]["annotations"]["distillery.dev/model-path"] == (
        f"{folders[0]}/model"
    )
    assert folders[0] not in cluster.status.prunable_folders
    assert len(cluster.status.prunable_folders) >= 1


# --- base models that are served with adapters


ADAPTER = {"runtime": "VLLM", "adapter": "LoRA"}


def on_base(cluster: SimulatedCluster, name: str, seed: int = 0) -> str:
    """A run of an adapter on that base model; the folder in which the model is kept."""
    cluster.change(student={"model": {"uri": f"hf://org/{name}"}}, training={"seed": seed})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    base = base_folder(cluster.plan.spec)
    assert base is not None
    return base


def prunable_bases(cluster: SimulatedCluster) -> list[str]:
    return [folder for folder in cluster.status.prunable_folders if folder.startswith("base-")]


def with_bases(*names: str, **changes: Any) -> tuple[SimulatedCluster, list[str]]:
    cluster = SimulatedCluster(serving=ADAPTER, storage={"history": 1}, **changes)
    cluster.run_stages(Stage.GENERATE)
    return cluster, [on_base(cluster, name) for name in names]


def test_a_base_model_that_no_kept_adapter_is_served_with_is_deleted() -> None:
    cluster, (first, second) = with_bases("small", "other")
    assert first != second
    assert prunable_bases(cluster) == [first]
    third = on_base(cluster, "third")
    assert folders_to_delete(cluster, Stage.EVALUATE)[-1] == first
    assert prunable_bases(cluster) == [first, second]
    assert third not in cluster.status.prunable_folders


def test_a_base_model_of_a_kept_run_stays() -> None:
    cluster, (first,) = with_bases("small")
    assert on_base(cluster, "small", seed=1) == first
    assert prunable_bases(cluster) == []
    cluster.change(storage={"history": 2})
    second = on_base(cluster, "other")
    assert prunable_bases(cluster) == []
    on_base(cluster, "other", seed=1)
    assert prunable_bases(cluster) == [first]
    assert second not in cluster.status.prunable_folders


def test_a_base_model_that_serves_stays_and_one_that_is_wanted_again_is_kept() -> None:
    cluster, (first, second) = with_bases("small", "other")
    assert prunable_bases(cluster) == [first]
    cluster.change(evaluation={"gate": {"minScore": 0.99}})
    cluster.change(student={"model": {"uri": "hf://org/third"}})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert second not in cluster.status.prunable_folders
    cluster.change(student={"model": {"uri": "hf://org/small"}})
    cluster.settle()
    assert first not in cluster.status.prunable_folders


def test_a_student_that_is_merged_again_leaves_its_base_model() -> None:
    cluster, (first,) = with_bases("small")
    cluster.change(serving={"runtime": "VLLM"})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    assert prunable_bases(cluster) == []  # it serves still, and may have to again
    cluster.run_stages(Stage.VERIFY)
    assert prunable_bases(cluster) == [first]
