"""A release that changes one of these hashes generates, trains and evaluates everything again in every cluster."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery_api.resource import Distillation
from distillery_operator.manifest_input.manifest_file import read_manifest
from distillery_operator.planning.plan import make_plan
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
def test_manifest_keeps_its_hashes(say: str):
    manifest: dict[str, Any] = CASES[say]
    assert hashes(Distillation.model_validate(manifest)) == GOLDEN["manifests"][say]


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
    assert hashes(Distillation.model_validate(stored)) == GOLDEN["examples"][f"{example}.yaml"]
