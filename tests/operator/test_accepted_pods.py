"""The same Pod is sent for a dry run once, whichever Distillation it belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_operator.controller.accepted_pods import AcceptedPods
from distillery_operator.manifests.cluster_plan import planned_server
from distillery_operator.manifests.job import stage_pod
from distillery_operator.manifests.serving import serving_pod
from distillery_operator.planning.plan import make_plan
from simulated_cluster import SETTINGS, distillation, spec

Raw = dict[str, Any]


def pod(
    stage: Stage = Stage.TRAIN, *, name: str = "first", namespace: str = "team-a", uid: str = "1-x", **spec_: Any
) -> Raw:
    plan = make_plan(distillation(spec(**spec_), name=name, namespace=namespace, uid=uid))
    return stage_pod(plan, plan.stage(stage), SETTINGS.manifests)


def server_pod(name: str, **serving: Any) -> Raw:
    plan = make_plan(distillation(spec(serving=serving), name=name))
    return serving_pod(plan, planned_server(plan, SETTINGS.manifests))


def test_nothing_is_accepted_at_first() -> None:
    assert pod() not in AcceptedPods()


@pytest.mark.parametrize("stage", [Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE])
@pytest.mark.parametrize("name", ["first", "second", "train", "a"])
def test_that_of_another_distillation_of_the_same_spec_is_the_same(stage: Stage, name: str) -> None:
    accepted = AcceptedPods()
    accepted.accept(pod(stage))

    assert (pod(stage, name=name) in accepted) is (name != "train" or stage is not Stage.TRAIN)


@pytest.mark.parametrize(("runtime", "adapter"), [("VLLM", "Merged"), ("VLLM", "LoRA"), ("Transformers", "Merged")])
def test_the_server_of_another_distillation_of_the_same_spec_is_the_same(runtime: str, adapter: str) -> None:
    accepted = AcceptedPods()
    accepted.accept(server_pod("first", runtime=runtime, adapter=adapter))

    assert server_pod("second", runtime=runtime, adapter=adapter) in accepted
    smaller = server_pod("second", runtime=runtime, adapter=adapter, resources={"limits": {"memory": "1Gi"}})
    assert smaller not in accepted


@pytest.mark.parametrize(
    "other",
    [
        {"namespace": "team-b"},
        {"stage": Stage.EVALUATE},
        {"training": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
        {"training": {"podTemplate": {"spec": {"priorityClassName": "high"}}}},
        {"training": {"podTemplate": {"metadata": {"labels": {"team": "x"}}}}},
        {"training": {"podTemplate": {"metadata": {"annotations": {"team": "x"}}}}},
        {"training": {"image": "registry.example/first:1"}},
    ],
)
def test_any_other_difference_makes_it_another(other: Raw) -> None:
    accepted = AcceptedPods()
    accepted.accept(pod())

    assert pod(**other) not in accepted


def test_a_verdict_does_not_count_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("distillery_operator.controller.accepted_pods.monotonic", lambda: clock[0])
    accepted = AcceptedPods()
    accepted.accept(pod())
    clock[0] += 599
    assert pod() in accepted
    clock[0] += 2
    assert pod() not in accepted
