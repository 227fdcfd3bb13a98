from __future__ import annotations

from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_operator.planning import names
from distillery_operator.planning.plan import make_plan
from distillery_operator.planning.stage_config import StageLocations, mounted_sources, run_config
from simulated_cluster import distillation, spec


def hashes(spec_: dict[str, Any] | None = None, **contents: str) -> list[str]:
    return [planned.input_hash for planned in make_plan(distillation(spec_), contents).stages]


def changed(**changes: Any) -> list[bool]:
    """Whether a changed spec changes the hash of generate, train and evaluate."""
    return [new != old for new, old in zip(hashes(spec(**changes)), hashes(), strict=True)]


def teacher(**fields: Any) -> dict[str, Any]:
    return {"teachers": [{"name": "big", "endpoint": "https://teacher.example/v1", "model": "big-405b", **fields}]}


def test_hashes_stay_the_same_in_every_release() -> None:
    # A release that changes these pays for, and trains, everything again in every cluster.
    assert hashes() == ["khmqypiu", "nxevyml5", "cjwr55cz"]


def test_stages_come_in_order_with_folders_named_by_their_hashes() -> None:
    plan = make_plan(distillation())
    assert [planned.stage for planned in plan.stages] == [Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE]
    assert plan.stage(Stage.TRAIN).folder == f"train-{hashes()[1]}"
    assert plan.model_path == f"train-{hashes()[1]}/model"
    assert plan.student_prompt_path == f"generate-{hashes()[0]}/student-prompt.txt"


@pytest.mark.parametrize(
    "generation",
    [
        teacher(endpoint="https://elsewhere.example/v1"),
        teacher(apiKey={"secretName": "teacher"}),
        teacher() | {"concurrency": 7},
        teacher() | {"requestTimeoutSeconds": 7},
        teacher() | {"minSuccessRatio": 0.1},
        teacher() | {"budget": {"maxTokens": 9}},
        teacher() | {"image": "other:1", "resources": {"limits": {"cpu": 4}}},
        teacher() | {"podTemplate": {"spec": {"priorityClassName": "low"}}},
        teacher() | {"chainOfThought": False, "sampling": {"temperature": 0.2}},
    ],
)
def test_what_does_not_change_the_rows_changes_no_hash(generation: dict[str, Any]) -> None:
    assert changed(generation=generation) == [False, False, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": teacher(model="other")},
        {"generation": teacher(name="other")},
        {"generation": teacher() | {"chainOfThought": True}},
        {"generation": teacher() | {"sampling": {"temperature": 0.3}}},
        {"generation": teacher() | {"prompts": {"student": "Say it."}}},
        {"data": spec()["data"] | {"version": "2"}},
        {"data": spec()["data"] | {"labels": ["yes", "no"]}},
        {"data": spec()["data"] | {"test": {"uri": "pvc://rows/test.jsonl"}}},
    ],
)
def test_what_changes_the_rows_changes_every_hash(changes: dict[str, Any]) -> None:
    assert changed(**changes) == [True, True, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"learningRate": 0.001}},
        {"training": {"method": "Full"}},
        {"student": {"model": {"uri": "hf://a/b"}}},
    ],
)
def test_what_changes_the_student_keeps_the_rows(changes: dict[str, Any]) -> None:
    assert changed(**changes) == [False, True, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"learningRate": 0.0003, "lora": {"rank": 8}}},
        {"student": spec()["student"] | {"credentials": {"secretName": "hub"}}},
        {"serving": {"mode": "None"}},
        {"serving": {"replicas": 0}},
        {"storage": {"size": "1Gi"}},
        {"suspend": True},
        {"data": spec()["data"] | {"labels": ["entailment", "neutral", "contradiction"]}},
    ],
)
def test_defaults_written_out_and_operational_fields_change_no_hash(changes: dict[str, Any]) -> None:
    assert changed(**changes) == [False, False, False]


def test_adapters_are_no_part_of_a_full_training() -> None:
    full, ranked = {"method": "Full"}, {"method": "Full", "lora": {"rank": 16}}
    assert hashes(spec(training=full)) == hashes(spec(training=ranked))


def test_other_content_of_a_source_changes_the_hash() -> None:
    uri = "pvc://rows/train.jsonl"
    assert hashes(None, **{uri: "aaa"}) != hashes(None, **{uri: "bbb"})
    assert hashes(None, **{"pvc://rows/unused.jsonl": "aaa"}) == hashes()


def test_other_content_of_the_base_model_keeps_the_rows() -> None:
    first, second = hashes(None, **{"hf://org/small": "a"}), hashes(None, **{"hf://org/small": "b"})
    assert (first[0] == second[0], first[1] == second[1]) == (True, False)


def test_job_names_of_the_longest_names_fit_a_label_up_to_attempt_9999() -> None:
    plan = make_plan(distillation(name="a" * 40))
    assert [len(names.job_name(plan.name, planned.folder, 9999)) for planned in plan.stages] == [63, 60, 63]


def test_the_claim_is_named_after_the_uid_unless_one_is_given() -> None:
    assert make_plan(distillation()).claim_name == "conjnli-workspace-5f0c1a2b"
    assert make_plan(distillation(uid="")).claim_name == "conjnli-workspace"
    assert make_plan(distillation(spec(storage={"claimName": "mine"}))).claim_name == "mine"


def test_each_stage_reads_only_its_own_sources_and_the_first_one_checks_the_student() -> None:
    data = {
        "train": {"uri": "pvc://rows/a"},
        "validation": {"uri": "configmap://few/b"},
        "test": {"uri": "pvc://rows/c"},
    }
    model = {"model": {"uri": "pvc://models/small"}}
    parsed = distillation(spec(data=data, student=model)).spec
    assert mounted_sources(parsed, Stage.GENERATE) == ("configmap://few", "pvc://models", "pvc://rows")
    assert mounted_sources(parsed, Stage.TRAIN) == ("pvc://models",)
    assert mounted_sources(distillation(spec(student={"model": {"uri": "models/small"}})).spec, Stage.TRAIN) == ()


def test_run_config_in_a_pod_names_folders_mounts_and_key_variables() -> None:
    plan = make_plan(distillation(spec(generation=teacher(apiKey={"secretName": "teacher"}))))
    config = run_config(plan, plan.stage(Stage.EVALUATE), StageLocations.in_pod(plan, Stage.GENERATE))
    generate, train, evaluate = plan.stages
    assert config.folder == evaluate.folder
    assert config.inputs == {Stage.GENERATE: generate.folder, Stage.TRAIN: train.folder}
    assert config.mounts == {"pvc://rows": "/data/pvc/rows"}
    assert config.api_key_variables == {}
    asking = run_config(plan, generate, StageLocations.in_pod(plan, Stage.GENERATE))
    assert asking.api_key_variables == {"teacher/api-key": "DISTILLERY_API_KEY_0"}
    assert config.labels == ("entailment", "neutral", "contradiction")
    assert (config.workspace, config.metrics_port) == ("/workspace", 9090)
    assert config.termination_message_path == "/dev/termination-log"


@pytest.mark.parametrize(
    ("generation", "seconds"),
    [(teacher(), 120), (teacher(reasoning=True), 600), (teacher(reasoning=True) | {"requestTimeoutSeconds": 90}, 90)],
)
def test_teacher_that_thinks_gets_more_time_for_a_call(generation: dict[str, Any], seconds: int) -> None:
    plan = make_plan(distillation(spec(generation=generation)))
    config = run_config(plan, plan.stage(Stage.GENERATE), StageLocations.in_pod(plan, Stage.GENERATE))
    assert config.request_timeout_seconds == seconds


def test_run_config_leaves_out_where_a_stage_runs() -> None:
    training = {"image": "mine:1", "resources": {"limits": {"cpu": 1}}, "podTemplate": {"spec": {"hostNetwork": True}}}
    plan = make_plan(distillation(spec(training=training)))
    config = run_config(plan, plan.stage(Stage.TRAIN), StageLocations("/out", "/home/me", {}))
    assert (config.training.image, config.training.resources, config.training.pod_template) == (None, None, None)
    assert (config.workspace, config.base_path, config.metrics_host) == ("/out", "/home/me", "127.0.0.1")
