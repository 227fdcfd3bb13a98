"""Of several servers, a drain of nodes takes one at a time."""

from __future__ import annotations

from typing import Any

from distillery_api.stage import Stage
from distillery_operator.core.actions import Action, Apply, Create, Delete
from simulated_cluster import SimulatedCluster

BUDGET = ("PodDisruptionBudget", "conjnli")
SHARED: dict[str, Any] = {"accessModes": ["ReadWriteMany"]}


def served(replicas: int) -> SimulatedCluster:
    cluster = SimulatedCluster(storage=SHARED, serving={"replicas": replicas})
    cluster.settle()
    cluster.run_stages(*Stage)
    return cluster


def about_budget(actions: tuple[Action, ...]) -> list[type[Action]]:
    """What is done to it."""
    written = [
        type(each) for each in actions if isinstance(each, Create | Apply) and each.manifest["kind"] == BUDGET[0]
    ]
    return written + [type(each) for each in actions if isinstance(each, Delete) and (each.kind, each.name) == BUDGET]


def test_several_servers_have_a_budget_and_one_has_none() -> None:
    spec = served(2).objects[BUDGET]["spec"]
    labels = {"app.kubernetes.io/component": "serving", "distillery.dev/name": "conjnli"}
    # The Pods of a candidate have the label track: neither do they count as missing, nor are they kept from a drain.
    beside = [{"key": "distillery.dev/track", "operator": "DoesNotExist"}]
    assert spec == {"maxUnavailable": 1, "selector": {"matchLabels": labels, "matchExpressions": beside}}
    assert BUDGET not in served(1).objects


def test_a_scale_up_brings_it_and_nothing_else_is_written_for_it() -> None:
    cluster = served(1)
    cluster.change(serving={"replicas": 3})
    assert about_budget(cluster.decisions()) == [Create]
    cluster.settle()
    assert cluster.decisions() == ()


def test_one_that_was_changed_or_deleted_by_hand_is_repaired() -> None:
    cluster = served(2)
    cluster.objects[BUDGET]["spec"]["maxUnavailable"] = 0
    assert about_budget(cluster.decisions()) == [Apply]
    del cluster.objects[BUDGET]
    assert about_budget(cluster.decisions()) == [Create]


def test_one_of_somebody_else_is_left_alone() -> None:
    cluster = served(2)
    cluster.objects[BUDGET]["metadata"]["ownerReferences"] = []
    cluster.objects[BUDGET]["spec"]["maxUnavailable"] = 0
    assert about_budget(cluster.decisions()) == []


def test_it_goes_with_the_server() -> None:
    cluster = served(2)
    cluster.change(serving={"mode": "None"})
    assert about_budget(cluster.decisions()) == [Delete]
