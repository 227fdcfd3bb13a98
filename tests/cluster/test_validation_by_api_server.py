"""The API server and pydantic judge one table of manifests alike (tests/api/test_validation.py asks pydantic)."""

import json
from pathlib import Path

import pytest
import yaml

from manifest_cases import ManifestCase, manifest_cases

pytestmark = pytest.mark.cluster

CRD = Path(__file__).parents[2] / "crds" / "distillations.yaml"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
CASES = manifest_cases()


@pytest.fixture(scope="module")
def dry_run(control_plane):
    """Asks the server what it would say to a manifest: "" where it is accepted."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/distillations.distillery.dev", "--timeout=30s")

    def ask(manifest):
        try:
            control_plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
        except Exception as refusal:  # noqa: BLE001 - whatever kubectl says is the answer
            return str(refusal)
        return ""

    return ask


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.say)
def test_server_judges_the_manifest_as_pydantic_does(dry_run, case: ManifestCase):
    said = dry_run(case.manifest)
    if case.refused is None:
        assert said == ""
    else:
        assert case.refused in said


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_server_takes_the_example(dry_run, path: Path):
    assert dry_run(yaml.safe_load(path.read_text())) == ""


def test_explain_shows_the_description(dry_run, kubectl):
    assert (
        "Minimum share of the train rows, and of the validation rows, that must get a readable, allowed answer"
        in " ".join(kubectl("explain", "distillation.spec.generation.minSuccessRatio").split())
    )
