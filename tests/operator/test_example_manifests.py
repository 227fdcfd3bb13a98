"""Manifests in examples/ and in the pages are what users copy: each is valid, plans, and every task has an example."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery_api.spec import Task, TrainingObjective
from distillery_operator.manifest_input.manifest_file import ManifestError, read_manifest
from distillery_operator.manifests.preview import preview, preview_plan

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_there_is_one_for_every_task():
    tasks = [read_manifest(path).distillation.spec.task for path in EXAMPLES]
    assert sorted(tasks) == sorted(Task)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_becomes_manifests_for_a_cluster(path: Path):
    kinds = [manifest["kind"] for manifest in preview(preview_plan(read_manifest(path).distillation))]
    assert kinds.count("Job") == 4


OPTIONS = sorted((ROOT / "examples/options").glob("*.yaml"))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_example_of_an_option_becomes_manifests_and_shows_that_option(path: Path):
    spec = read_manifest(path).distillation.spec
    jobs = [
        manifest for manifest in preview(preview_plan(read_manifest(path).distillation)) if manifest["kind"] == "Job"
    ]
    shown = {
        "objective": spec.training.objective != TrainingObjective(),
        "publication": spec.publication.hub is not None,
        "search": spec.training.search is not None,
        "tracking": spec.tracking is not None,
    }
    assert {name for name, given in shown.items() if given} == {path.stem}
    stages = [job["metadata"]["labels"]["app.kubernetes.io/component"] for job in jobs]
    assert stages == ["generate", "train", "evaluate", "publish" if path.stem == "publication" else "verify"]


def test_there_is_an_example_of_every_option():
    assert [path.stem for path in OPTIONS] == ["objective", "publication", "search", "tracking"]


SERVED = [
    pytest.param(each, id=f"{path.stem}-{each['metadata']['name']}")
    for path in sorted((ROOT / "examples/serving").glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if each["kind"] == "Distillation"
]


@pytest.mark.parametrize("manifest", SERVED)
def test_example_of_serving_becomes_manifests_for_a_cluster(manifest: dict[str, Any], tmp_path: Path):
    file = tmp_path / "distillation.yaml"
    file.write_text(yaml.safe_dump(manifest))
    kinds = [each["kind"] for each in preview(preview_plan(read_manifest(file).distillation))]
    assert kinds.count("Deployment") == ("sharedServer" not in manifest["spec"]["serving"])
    assert kinds.count("Service") == 1


def blocks() -> Iterator[Any]:
    """Every piece of a Distillation in the pages, with the place where it stands."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        for block in re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            for piece in yaml.safe_load_all(block[1]):
                if piece.get("kind", "Distillation") == "Distillation":
                    yield pytest.param(piece, id=f"{page.name}:{line}")


def whole_manifest(piece: dict[str, Any], task: Task) -> dict[str, Any]:
    """A manifest with the piece in it: a whole one, a spec, or a part of a spec."""
    if "kind" in piece:
        return piece
    given = piece.get("spec", piece)
    generation = {"teachers": [{"name": "t", "endpoint": "https://teacher.example/v1", "model": "m"}]}
    spec = {
        "task": str(task),
        "data": {"train": {"uri": "train.jsonl"}, "validationFraction": 0.1},
        "student": {"model": {"uri": "hf://org/student"}},
        **given,
        "generation": {**generation, **given.get("generation", {})},
    }
    head = {"apiVersion": "distillery.dev/v1alpha1", "kind": "Distillation", "metadata": {"name": "conjnli"}}
    return {**head, "spec": spec}


@pytest.mark.parametrize("piece", list(blocks()))
def test_what_the_pages_show_is_valid_for_a_task(piece: dict[str, Any], tmp_path: Path):
    problems = []
    for task in Task:
        file = tmp_path / f"{task}.yaml"
        file.write_text(yaml.safe_dump(whole_manifest(piece, task)))
        try:
            read_manifest(file)
        except ManifestError as error:
            problems.append(str(error))
    assert len(problems) < len(Task), problems
