"""The API server and pydantic judge one table of manifests alike (tests/api/test_validation.py asks pydantic)."""

import json
from pathlib import Path

import pytest
import yaml

from manifest_cases import ManifestCase, manifest_cases, minimal_manifest
from waiting import wait_until

pytestmark = pytest.mark.cluster

CRD = Path(__file__).parents[2] / "crds" / "distillations.yaml"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
CASES = manifest_cases()


def is_established(crd):
    conditions = crd["status"].get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


@pytest.fixture(scope="module")
def dry_run(control_plane):
    """Asks the server what it would say to a manifest: "" where it is accepted."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    # kubectl's own wait fails while a new CRD has no conditions at all.
    wait_until(lambda: is_established(control_plane.get("crd", "distillations.distillery.dev")), 30, "the CRD")

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
    if case.refused is None or case.beyond_cel:
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


DESCRIBED = {"size": "100Gi", "storageClassName": "fast", "accessModes": ["ReadWriteOnce"]}


@pytest.fixture(scope="module")
def stored(control_plane, dry_run):
    """Stores a Distillation with this spec.storage, and asks what the server would say to a change to another one."""
    manifest = minimal_manifest()
    names = (f"stored-{number}" for number in range(1000))

    def change(before, after):
        metadata = {"name": next(names), "namespace": "default"}
        spec = manifest["spec"] | ({} if before is None else {"storage": before})
        control_plane.apply(manifest | {"metadata": metadata, "spec": spec})
        spec = manifest["spec"] | ({} if after is None else {"storage": after})
        return dry_run(manifest | {"metadata": metadata, "spec": spec})

    return change


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ({"claimName": "a"}, {"claimName": "b"}, "claimName cannot be changed: the present claim holds what finished"),
        ({"claimName": "a"}, None, "claimName cannot be changed"),
        (None, {"claimName": "a"}, "claimName cannot be changed"),
        (DESCRIBED, {"claimName": "a"}, "claimName cannot be changed"),
        (DESCRIBED, DESCRIBED | {"storageClassName": "slow"}, "storageClassName cannot be changed"),
        (None, {"storageClassName": "fast"}, "storageClassName cannot be changed"),
        ({"storageClassName": "fast"}, None, "storageClassName cannot be changed"),
        (None, {"accessModes": ["ReadWriteMany"]}, "accessModes cannot be changed"),
        (None, {"accessModes": ["ReadWriteOnce"]}, None),
        (DESCRIBED, DESCRIBED | {"size": "99Gi"}, "size can only grow"),
        (DESCRIBED, DESCRIBED | {"size": "100000Mi"}, "size can only grow"),
        (DESCRIBED, {"storageClassName": "fast"}, "size can only grow"),
        (None, {"size": "20Gi"}, "size can only grow (without one, it is 50Gi)"),
        (None, {"size": 53687091200}, None),
        (DESCRIBED, DESCRIBED | {"size": "0.2Ti"}, None),
        (DESCRIBED, DESCRIBED | {"size": "102400Mi", "retention": "Delete"}, None),
        ({"retention": "Delete"}, None, None),
    ],
)
def test_server_judges_a_change_of_the_storage(stored, before, after, refused):
    said = stored(before, after)
    assert said == "" if refused is None else refused in said


@pytest.mark.parametrize(("before", "after"), [("host", "another"), ("host", None), (None, "host")])
def test_server_refuses_a_change_of_the_shared_server(control_plane, dry_run, before, after):
    manifest = minimal_manifest() | {"metadata": {"name": f"shared-{before}-{after}".lower(), "namespace": "default"}}

    def on(host):
        serving = {"adapter": "LoRA"} | ({"sharedServer": host} if host else {})
        return manifest | {"spec": manifest["spec"] | {"serving": serving, "storage": {"claimName": "models"}}}

    control_plane.apply(on(before))
    assert "sharedServer cannot be changed; delete this Distillation and apply it again" in dry_run(on(after))
