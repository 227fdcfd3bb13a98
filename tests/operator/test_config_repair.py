"""The configuration of a stage under way is put back where somebody deletes or edits it."""

from __future__ import annotations

import copy

import pytest

from distillery_api.stage import Stage
from distillery_operator.core.actions import Apply, Create
from simulated_cluster import SimulatedCluster, written

CONFIG_MAP = ("ConfigMap", "conjnli-generate-khmqypiu")


def begun(*, running: bool) -> SimulatedCluster:
    cluster = SimulatedCluster()
    cluster.settle()
    if running:
        cluster.start()
        cluster.settle()
    return cluster


def applied(cluster: SimulatedCluster) -> list[str]:
    return [action.manifest["metadata"]["name"] for action in cluster.decisions() if isinstance(action, Apply | Create)]


@pytest.mark.parametrize("running", [False, True])
def test_a_deleted_one_is_put_back(running: bool) -> None:
    cluster = begun(running=running)
    before = copy.deepcopy(cluster.objects[CONFIG_MAP]["data"])
    assert applied(cluster) == []

    del cluster.objects[CONFIG_MAP]
    assert applied(cluster) == ["conjnli-generate-khmqypiu"]
    cluster.settle()
    assert cluster.objects[CONFIG_MAP]["data"] == before


def test_an_edited_one_is_put_right() -> None:
    cluster = begun(running=True)
    before = copy.deepcopy(cluster.objects[CONFIG_MAP]["data"])
    cluster.objects[CONFIG_MAP]["data"] = dict.fromkeys(before, "{}")

    cluster.settle()
    assert cluster.objects[CONFIG_MAP]["data"] == before


def test_one_that_is_being_deleted_is_waited_for() -> None:
    cluster = begun(running=True)
    cluster.objects[CONFIG_MAP]["metadata"]["deletionTimestamp"] = written(cluster.now)
    cluster.objects[CONFIG_MAP]["data"] = {}

    assert applied(cluster) == []


def test_a_running_stage_is_not_given_what_the_spec_says_now() -> None:
    cluster = begun(running=True)
    generation = cluster.spec["generation"]
    cluster.change(generation={**generation, "concurrency": 3})

    assert applied(cluster) == []


def test_what_a_finished_stage_was_given_may_go() -> None:
    cluster = begun(running=False)
    cluster.run_stages(Stage.GENERATE)
    cluster.settle()
    del cluster.objects[CONFIG_MAP]

    assert applied(cluster) == []
