"""The API server takes every manifest that the golden files show, without a warning and without an unknown field."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from cluster import Cluster
from gateway_api import gateway_api

pytestmark = pytest.mark.cluster

GOLDEN = Path(__file__).parents[1] / "data" / "output" / "manifests"
FILES = sorted(GOLDEN.iterdir())


def objects(path: Path, namespace: str) -> list[dict]:
    found = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] != "ConfigMap"]
    return [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_server_takes_what_the_golden_file_shows(control_plane: Cluster, namespace: str, path: Path) -> None:
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted", "--overwrite")
    # Only the server can see that a Job's Pod would be refused, and it says so in a warning.
    strictly = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    with gateway_api(control_plane) if path.stem == "http_route" else nullcontext():
        said = control_plane.apply(objects(path, namespace), None, *strictly)
    assert said.count("created (server dry run)") == len(objects(path, namespace))
