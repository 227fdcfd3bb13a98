"""Distillations of the API server may be newer, older or invalid."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.stage import Stage
from distillery_api.status import DistillationStatus
from distillery_operator.cluster.parse_resource import read_distillation, read_metadata, read_status
from distillery_operator.errors import InvalidDistillation

TIME = "2026-11-29T06:00:00Z"

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
    assert (read.metadata.namespace, read.metadata.generation, read.spec.training.seed) == ("team-a", 3, 42)


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
        "spec.task: Input should be 'NLI', 'MultipleChoice', 'Classification', 'Math', 'Summarization', 'Conversation',"
        " 'Text', 'Extraction' or 'ToolCalling';"
        " spec.training.epochs: Input should be greater than or equal to 1"
    )


def test_the_metadata_of_a_broken_object_can_be_read() -> None:
    assert read_metadata(resource(task="Poetry")).generation == 3


def test_a_status_that_cannot_be_read_counts_as_none() -> None:
    assert read_status({**RESOURCE, "status": {"stages": "many"}}).observed_generation == -1
    assert read_status({"metadata": {}}).stages == ()


def test_a_newer_status_is_read_as_far_as_it_is_known() -> None:
    assert read_status({"status": {"observedGeneration": 5, "mood": "good"}}).observed_generation == 5


FULL_STATUS: dict[str, Any] = {
    "observedGeneration": 3,
    "conditions": [
        {"type": kind, "status": "False", "reason": "Training", "message": "m", "lastTransitionTime": TIME}
        for kind in ("Ready", "DataGenerated", "Trained", "Available")
    ],
    "stages": [
        {
            "name": "generate",
            "inputHash": "abcdefgh",
            "job": "small-generate-abcdefgh-1",
            "attempts": 1,
            "startTime": TIME,
            "completionTime": TIME,
            "rows": {"read": 4, "kept": 3, "rejected": 1},
            "usage": {"requests": 4, "inputTokens": 40, "outputTokens": 4},
        },
        {"name": "train", "inputHash": "bcdefghi", "job": "small-train-bcdefghi-2", "attempts": 2, "startTime": TIME},
    ],
    "serving": {"url": "http://small", "modelPath": "train-a/model", "replicas": 1},
    "history": [{"completionTime": TIME, "modelPath": "train-a/model", "student": 0.8}],
    "refused": [{"verb": "patch", "kind": "Service", "name": "small", "reason": "PodRefused", "message": "no"}],
    "lastHandledRetryAt": "now",
}


def test_the_full_status_is_understood() -> None:
    assert read_status({"status": FULL_STATUS}) == DistillationStatus.model_validate(FULL_STATUS)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("conditions", 1, "type"), "Distilled"),
        (("conditions", 1, "status"), "Perhaps"),
        (("stages", 1, "name"), "compress"),
        (("stages", 0, "rows"), 3),
        (("stages", 0, "rows", "kept"), {"train": 3}),
        (("stages", 0, "usage", "requests"), "many"),
        (("stages", 0, "progress"), {"done": 1}),
        (("serving", "replicas"), {"ready": 1}),
        (("evaluation",), {"student": "good"}),
        (("history", 0, "completionTime"), "yesterday"),
        (("stages", 1, "message"), "x" * 5000),
        (("refused", 0, "message"), "x" * 5000),
        (("conditions",), [*FULL_STATUS["conditions"], *({"type": f"New{each}"} for each in range(20))]),
        (("stages",), [*({"name": f"new-{each}"} for each in range(9)), *FULL_STATUS["stages"]]),
        (("history",), FULL_STATUS["history"] * 12),
    ],
    ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else "",
)
def test_one_value_of_a_later_release_costs_no_finished_stage(path: tuple[str | int, ...], value: Any) -> None:
    status = changed(FULL_STATUS, path, value)
    read = read_status({"status": status})
    generate = next(stage for stage in read.stages if stage.name is Stage.GENERATE)
    assert (generate.job, generate.completion_time is not None) == ("small-generate-abcdefgh-1", True)
    assert (read.observed_generation, read.last_handled_retry_at) == (3, "now")
    assert "Ready" in {str(condition.type) for condition in read.conditions}


def changed(manifest: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with one value replaced."""
    copied = copy.deepcopy(manifest)
    parent = copied
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    return copied


VALUES = st.recursive(st.text(max_size=5) | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=2))
NEW_FIELDS = st.dictionaries(st.text("xyz", min_size=3, max_size=6), VALUES, max_size=3)
NEW_CONDITIONS = st.fixed_dictionaries({"type": st.sampled_from(["Distilled", "Gated"]), "status": st.just("True")})
NEW_STAGES = st.fixed_dictionaries({"name": st.sampled_from(["compress", "align"]), "inputHash": st.just("h")})


@given(NEW_FIELDS, NEW_FIELDS, st.lists(NEW_CONDITIONS, max_size=20), st.lists(NEW_STAGES, max_size=12), st.randoms())
def test_a_status_of_a_later_release_keeps_all_that_this_release_understands(
    at_top: dict[str, Any], in_stages: dict[str, Any], conditions: list[Any], stages: list[Any], random: Random
) -> None:
    later = copy.deepcopy(FULL_STATUS) | at_top
    later["stages"] = [stage | in_stages for stage in later["stages"]]
    for new, name in ((conditions, "conditions"), (stages, "stages")):
        for item in new:
            later[name].insert(random.randint(0, len(later[name])), item)
    assert read_status({"status": later}) == DistillationStatus.model_validate(FULL_STATUS)
