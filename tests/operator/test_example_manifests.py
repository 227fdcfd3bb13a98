"""The manifests in examples/ are what users copy: each is valid, plans, and there is one for every task."""

from pathlib import Path

import pytest

from distillery_api.spec import Task
from distillery_operator.manifest_input.manifest_file import read_manifest
from distillery_operator.manifests.preview import preview, preview_plan

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def test_there_is_one_for_every_task():
    tasks = [read_manifest(path).distillation.spec.task for path in EXAMPLES]
    assert sorted(tasks) == sorted(Task)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_becomes_manifests_for_a_cluster(path: Path):
    kinds = [manifest["kind"] for manifest in preview(preview_plan(read_manifest(path).distillation))]
    assert kinds.count("Job") == 4
