"""Distillations of the API server may be newer, older or invalid."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from distillery_operator.cluster.parse_resource import read_distillation, read_metadata, read_status
from distillery_operator.errors import InvalidDistillation

RESOURCE: dict[str, Any] = {
    "apiVersion": "distillery.dev/v1alpha1",
    "kind": "Distillation",
    "metadata": {
        "name": "small",
        "namespace": "team-a",
        "uid": "1",
        "generation": 3,
        "resourceVersion": "7",
        "managedFields": [{"manager": "kubectl"}],
    },
    "spec": {
        "task": "NLI",
        "data": {"train": {"uri": "a.jsonl"}, "validation": {"uri": "b.jsonl"}},
        "generation": {"teachers": [{"name": "big", "endpoint": "https://t.example/v1", "model": "big"}]},
        "student": {"model": {"uri": "hf://org/small"}},
    },
    "status": {"observedGeneration": 2},
}


def resource(**spec: Any) -> dict[str, Any]:
    """The Distillation with changed fields of its spec."""
    changed = copy.deepcopy(RESOURCE)
    changed["spec"].update(spec)
    return changed


def test_a_distillation_is_read_with_its_metadata() -> None:
    read = read_distillation(RESOURCE)
    assert (read.metadata.namespace, read.metadata.generation, read.spec.training.epochs) == ("team-a", 3, 1)


def test_fields_of_a_newer_version_are_ignored_wherever_they_are() -> None:
    teacher = {**RESOURCE["spec"]["generation"]["teachers"][0], "weight": 2}
    newer = resource(gate={"minScore": 0.5}, generation={"teachers": [teacher], "hedge": True})
    assert read_distillation(newer).spec.generation.teachers[0].name == "big"
    assert newer["spec"]["gate"] == {"minScore": 0.5}


def test_fields_of_a_pod_template_are_kept() -> None:
    template = {"spec": {"nodeSelector": {"gpu": "a100"}, "containers": [{"name": "stage", "env": []}]}}
    read = read_distillation(resource(training={"podTemplate": template, "newer": 1}))
    assert read.spec.training.pod_template is not None
    assert read.spec.training.pod_template.to_manifest() == template


def test_broken_rules_are_reported_each_with_its_path() -> None:
    with pytest.raises(InvalidDistillation) as error:
        read_distillation(resource(training={"epochs": 0, "newer": 1}, task="Poetry"))
    assert str(error.value) == (
        "spec.task: Input should be 'NLI', 'MultipleChoice', 'Math', 'Summarization' or 'Conversation';"
        " spec.training.epochs: Input should be greater than or equal to 1"
    )


def test_the_metadata_of_a_broken_object_can_be_read() -> None:
    assert read_metadata(resource(task="Poetry")).generation == 3


def test_a_status_that_cannot_be_read_counts_as_none() -> None:
    assert read_status({**RESOURCE, "status": {"stages": "many"}}).observed_generation == -1
    assert read_status({"metadata": {}}).stages == ()


def test_a_newer_status_is_read_as_far_as_it_is_known() -> None:
    assert read_status({"status": {"observedGeneration": 5, "mood": "good"}}).observed_generation == 5
