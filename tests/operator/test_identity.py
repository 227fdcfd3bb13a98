"""A release that changes one of these hashes generates, trains and evaluates everything again in every cluster."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery_api.resource import Distillation
from distillery_api.stage import Stage
from distillery_operator.manifest_input.manifest_file import read_manifest
from distillery_operator.planning.plan import make_plan
from distillery_operator.planning.user_configuration import user_configuration
from manifest_cases import manifest_cases

ROOT = Path(__file__).parents[2]
GOLDEN: dict[str, dict[str, list[str]]] = yaml.safe_load((ROOT / "tests/data/output/input_hashes.yaml").read_text())
EXAMPLES = sorted(
    each
    for each in (ROOT / "examples").glob("**/*.yaml")
    if re.findall(r"^kind: (\w+)$", each.read_text(), re.MULTILINE) == ["Distillation"]
)
"""The files with one Distillation and nothing else."""
CASES = {case.say: case.manifest for case in manifest_cases() if case.refused is None}


def hashes(distillation: Distillation, contents: dict[str, str] | None = None) -> list[str]:
    return [planned.input_hash for planned in make_plan(distillation, contents).stages]


def test_every_example_has_its_hashes_on_record():
    assert [path.name for path in EXAMPLES] == list(GOLDEN["examples"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_keeps_its_hashes(path: Path):
    assert hashes(read_manifest(path).distillation) == GOLDEN["examples"][path.name]


@pytest.mark.parametrize("say", GOLDEN["manifests"])
def test_manifest_with_the_fixed_defaults_of_the_first_release_keeps_its_hashes(say: str):
    manifest: dict[str, Any] = CASES[say]
    training = {"preset": "Azure", **manifest["spec"].get("training", {})}
    of_first_release = {**manifest, "spec": {**manifest["spec"], "training": training}}
    assert hashes(Distillation.model_validate(of_first_release)) == GOLDEN["manifests"][say]


@pytest.mark.parametrize("say", GOLDEN["chosen training"])
def test_manifest_that_leaves_the_training_to_us_has_hashes_of_its_own(say: str):
    chosen = hashes(Distillation.model_validate(CASES[say]))
    assert chosen == GOLDEN["chosen training"][say]
    assert (chosen[0], chosen[1] != GOLDEN["manifests"][say][1]) == (GOLDEN["manifests"][say][0], True)


def test_values_of_a_preset_and_its_name_have_the_same_hashes():
    minimal: dict[str, Any] = CASES["the minimal manifest"]
    values = {"lora": {"rank": 8, "alpha": 128}, "epochs": 1, "batchSize": 1, "learningRate": 0.0003}
    for training in (values, {"preset": "Azure"}, {"preset": "Azure", "batchSize": 1}):
        written_out = {**minimal, "spec": {**minimal["spec"], "training": training}}
        assert hashes(Distillation.model_validate(written_out)) == GOLDEN["manifests"]["the minimal manifest"]


def test_content_of_local_files_is_part_of_the_hashes():
    distillation = read_manifest(ROOT / "examples/nli.yaml").distillation
    contents = {distillation.spec.data.train.uri: "aaa", distillation.spec.student.model.uri: "bbb"}
    assert hashes(distillation, contents) == GOLDEN["with contents"]["nli.yaml"]


def stored_objects() -> list[tuple[str, str, dict[str, Any]]]:
    """Release, example and object."""
    files = sorted((ROOT / "tests/data/input/stored_objects").glob("*.yaml"))
    return [
        (path.stem, each["metadata"]["name"], each) for path in files for each in yaml.safe_load_all(path.read_text())
    ]


@pytest.mark.parametrize(("release", "example", "stored"), stored_objects(), ids=lambda value: str(value)[:20])
def test_object_that_an_earlier_release_stored_keeps_its_hashes(release: str, example: str, stored: dict[str, Any]):
    assert hashes(Distillation.model_validate(stored)) == GOLDEN["stored"][f"{release}/{example}"]


WAITING = {
    "conversation": "g4ouexyl",
    "math": "2dtrkx5i",
    "multiple-choice": "cjdwr5xx",
    "nli": "q47yzm62",
    "distillation": "yh2zsk5g",
    "summarization": "n4x6vuvy",
}


@pytest.mark.parametrize(("release", "example", "stored"), stored_objects(), ids=lambda value: str(value)[:20])
def test_waiting_job_of_an_object_that_an_earlier_release_stored_keeps_its_turn(
    release: str, example: str, stored: dict[str, Any]
):
    assert user_configuration(make_plan(Distillation.model_validate(stored)), Stage.TRAIN) == WAITING[example]
