"""A training method that needs a GPU starts nothing where the train stage asks for none."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.manifests.method_needs import lacking_for_method
from distillery_operator.planning.plan import make_plan
from simulated_cluster import SimulatedCluster, distillation, spec

GPU = {"limits": {"nvidia.com/gpu": 1}}


@pytest.mark.parametrize(
    ("training", "lacks"),
    [
        ({"method": "QLoRA"}, True),
        ({"method": "QLoRA", "resources": {"limits": {"memory": "64Gi"}}}, True),
        ({"method": "QLoRA", "resources": {"limits": {"nvidia.com/gpu": 0}}}, True),
        ({"method": "QLoRA", "resources": GPU}, False),
        ({"method": "QLoRA", "gpusPerNode": 1}, False),
        ({"method": "QLoRA", "gpusPerNode": 4}, False),
        ({"method": "QLoRA", "resources": {"limits": {"amd.com/gpu": 1}}}, False),
        (
            {"method": "QLoRA", "podTemplate": {"spec": {"containers": [{"name": "stage", "resources": GPU}]}}},
            False,
        ),
        ({"method": "LoRA"}, False),
        ({"method": "DoRA"}, False),
    ],
)
def test_only_a_model_in_4_bits_needs_a_gpu(training: dict[str, Any], lacks: bool) -> None:
    plan = make_plan(distillation(spec(training=training)))
    lacking = lacking_for_method(plan.spec.training.method, plan.options(Stage.TRAIN))
    assert (lacking is not None) is lacks


def test_nothing_starts_until_there_is_a_gpu() -> None:
    cluster = SimulatedCluster(training={"method": "QLoRA"})
    cluster.settle()
    assert cluster.live_jobs() == []
    assert (cluster.reason(), cluster.truth(ConditionType.STALLED)) == (Reason.INVALID_SPEC, "True")
    ready = cluster.condition(ConditionType.READY)
    assert ready is not None
    assert ready.message.endswith(
        "training.method: QLoRA needs a GPU; ask for one by training.gpusPerNode: 1 or in training.resources, such as"
        " limits: {nvidia.com/gpu: 1}, or set training.method to LoRA"
    )

    cluster.change(training={"method": "QLoRA", "resources": GPU})
    cluster.settle()
    assert len(cluster.live_jobs()) == 1
