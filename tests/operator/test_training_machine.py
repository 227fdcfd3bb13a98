"""What is known of the machine that will train, before it does."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.spec import Training
from distillery_api.training_memory import TrainingMachine
from distillery_operator.manifests.job import planned_training_machine
from distillery_operator.manifests.training_machine import training_machine
from distillery_operator.planning.plan import make_plan
from simulated_cluster import distillation, spec

GIB = 1024**3
GPU = {"limits": {"nvidia.com/gpu": 1}}


def machine(**training: Any) -> TrainingMachine:
    return training_machine(Training.model_validate(training), "32Gi")


def on_nodes(**spec: Any) -> TrainingMachine:
    return machine(resources=GPU, podTemplate={"spec": spec})


@pytest.mark.parametrize(
    ("resources", "memory"),
    [
        (None, 32 * GIB),
        ({"limits": {"memory": "8Gi"}}, 8 * GIB),
        ({"requests": {"memory": "4Gi"}}, 4 * GIB),
        ({"requests": {"memory": "4Gi"}, "limits": {"memory": "6G"}}, 6_000_000_000),
    ],
)
def test_without_a_gpu_the_training_has_the_memory_of_its_container(
    resources: dict[str, Any] | None, memory: int
) -> None:
    assert machine(resources=resources) == TrainingMachine(memory=memory)


@pytest.mark.parametrize(
    ("labels", "memory"),
    [
        ({"nvidia.com/gpu.memory": "81559"}, 81559 * 1024**2),
        ({"karpenter.k8s.aws/instance-gpu-memory": "22888"}, 22888 * 1024**2),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}, 80 * GIB),
        ({"nvidia.com/gpu.product": "NVIDIA-A10G"}, 24 * GIB),
        ({"nvidia.com/gpu.product": "Tesla-T4"}, 16 * GIB),
        ({"nvidia.com/gpu.product": "NVIDIA-H200"}, 141 * GIB),
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, 24 * GIB),
        ({"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}, 80 * GIB),
        ({"nvidia.com/gpu.memory": "much"}, None),
        ({"nvidia.com/gpu.product": "NVIDIA-Next"}, None),
        ({"team": "l4"}, None),
        ({}, None),
    ],
)
def test_memory_of_a_gpu_is_read_from_the_nodes_that_the_pod_selects(
    labels: dict[str, str], memory: int | None
) -> None:
    assert on_nodes(nodeSelector=labels) == TrainingMachine(gpus=1, gpu_memory=memory)


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


def product(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("terms", "memory"),
    [
        ([product("In", "NVIDIA-L4")], 24 * GIB),
        ([product("In", "NVIDIA-L4", "NVIDIA-A10")], None),
        ([product("NotIn", "NVIDIA-L4")], None),
        ([product("In", "NVIDIA-L4"), product("In", "Tesla-T4")], None),
        (["malformed"], None),
    ],
)
def test_affinity_says_it_where_it_leaves_no_choice(terms: list[Any], memory: int | None) -> None:
    assert on_nodes(affinity=affinity(*terms)).gpu_memory == memory


def test_each_of_several_gpus_holds_the_whole_model() -> None:
    known = machine(
        resources={"limits": {"nvidia.com/gpu": 4}},
        podTemplate={"spec": {"nodeSelector": {"nvidia.com/gpu.memory": "1000"}}},
    )
    assert (known.gpus, known.training_memory) == (4, 1000 * 1024**2)


def test_gpus_per_node_are_gpus_of_the_machine_as_those_of_resources_are() -> None:
    options = {"podTemplate": {"spec": {"nodeSelector": {"nvidia.com/gpu.memory": "81920"}}}}
    for training in ({"gpusPerNode": 4}, {"gpusPerNode": 4, "resources": {"limits": {"nvidia.com/gpu": 4}}}):
        plan = make_plan(distillation(spec(training={**training, **options})))
        assert planned_training_machine(plan) == TrainingMachine(gpus=4, gpu_memory=80 * GIB)


def test_part_of_a_gpu_states_its_memory() -> None:
    assert machine(resources={"limits": {"nvidia.com/mig-3g.40gb": 1}}) == TrainingMachine(gpus=1, gpu_memory=40 * GIB)


def test_memory_of_a_gpu_without_a_label_is_unknown() -> None:
    assert machine(resources={"limits": {"amd.com/gpu": 1, "memory": "16Gi"}}).training_memory is None
