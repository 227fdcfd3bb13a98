"""Models of older runs are deleted, and never one that serves or may have to again."""

from __future__ import annotations

import json
from typing import Any

from distillery_api.stage import Stage
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
