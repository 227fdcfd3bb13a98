"""What one release of the operator leaves in a cluster, kept for the tests of later releases.

    python tests/support/release_record.py tests/data/input/releases/0.1.0

records it with this checkout's operator: in `served.yaml` a Distillation whose student is served and verified, in
`training.yaml` the same while the training of a second student runs. `restored` puts the objects into another cluster.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cluster import Cluster
from cluster_binaries import ensure_binaries
from control_plane import ControlPlane
from distillations import Distilled, small_spec
from distillery_operator.cluster.client import FIELD_MANAGER
from operator_process import OperatorProcess, grant_rights, install_crd
from process_node.node import ProcessNode
from scripted_image import scripted_image, with_script
from waiting import wait_until

Manifest = dict[str, Any]

_HEADER = (
    "# What one release of the operator left in a cluster; see tests/support/release_record.py. It never changes.\n"
)
NAMESPACE, UID, UID_START = "NAMESPACE", "UID-OF-THE-DISTILLATION", "UID-START"
"""What stands in the record for what differs from cluster to cluster."""
DONE = {"evaluate": [{"evaluation": {"sampleSize": 40, "teacher": {"score": 0.9}, "student": {"score": 0.85}}}]}
KINDS = ("persistentvolumeclaims", "configmaps", "jobs", "deployments", "services")
_OF_THE_CLUSTER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "finalizers")
_CHOSEN = {
    "Job": ("selector", "manualSelector"),
    "Service": ("clusterIP", "clusterIPs"),
    "PersistentVolumeClaim": ("volumeName",),
}
"""Fields of a spec that are chosen anew in each cluster."""


def record(cluster: Cluster, node: ProcessNode, folder: Path) -> dict[str, list[Manifest]]:
    """The objects of both states, by the name of their file, the Distillation first."""
    node.images["distillery-trainer:scripted"] = scripted_image()
    install_crd(cluster)
    cluster.kubectl("create", "namespace", "record")
    kubeconfig = grant_rights(cluster, "record", ["record"])
    distilled = Distilled(cluster, "record")
    with OperatorProcess(kubeconfig, "record", folder / "operator.log") as operator:
        operator.wait_until_leading()
        distilled.apply(script=DONE)
        distilled.wait_ready()
        wait_until(lambda: all(_has_ended(job) for job in distilled.children("jobs")), 60, "the Jobs to end")
        served = _objects(distilled)
        waiting = with_script(small_spec(), {"train": [{"waits": True}]})["training"]
        distilled.patch({"training": {**waiting, "learningRate": 0.001}})
        wait_until(lambda: _runs(distilled.children("pods", "train")), 60, "the second training")
        distilled.wait("Ready", "Unknown", "Training")
        return {"served": served, "training": _objects(distilled)}


def _objects(distilled: Distilled) -> list[Manifest]:
    children = (child for kind in KINDS for child in distilled.children(kind) if not _has_ended(child))
    return list(_portable([distilled.get(), *children]))


def _runs(pods: Iterable[Manifest]) -> bool:
    return any(pod["status"].get("phase") == "Running" for pod in pods)


def _has_ended(child: Manifest) -> bool:
    return bool(child.get("status", {}).get("succeeded"))


def _portable(objects: list[Manifest]) -> Iterable[Manifest]:
    uid = objects[0]["metadata"]["uid"]
    for each in objects:
        text = json.dumps(_without_what_the_cluster_chose(each))
        text = text.replace(uid, UID).replace(uid.partition("-")[0], UID_START).replace('"record"', f'"{NAMESPACE}"')
        yield json.loads(text.replace(".record.svc", f".{NAMESPACE}.svc"))


def _without_what_the_cluster_chose(child: Manifest) -> Manifest:
    """The object without what the API server and the controllers fill in again; the Distillation with its status."""
    kept = {key: value for key, value in child.items() if key != "status" or child["kind"] == "Distillation"}
    metadata = {key: value for key, value in child["metadata"].items() if key not in _OF_THE_CLUSTER}
    metadata["annotations"] = {
        key: value for key, value in metadata.get("annotations", {}).items() if key.startswith("distillery.dev/")
    }
    spec = {key: value for key, value in child.get("spec", {}).items() if key not in _CHOSEN.get(child["kind"], ())}
    if child["kind"] == "Job":
        labels = spec["template"]["metadata"]["labels"]
        spec["template"]["metadata"]["labels"] = {key: labels[key] for key in labels if not _is_of_a_job(key)}
    return {**kept, "metadata": metadata, **({"spec": spec} if spec else {})}


def _is_of_a_job(label: str) -> bool:
    return label.startswith("batch.kubernetes.io/") or label in ("controller-uid", "job-name")


def restored(cluster: Cluster, namespace: str, path: Path) -> None:
    """Create the recorded objects in a namespace, as if that release's operator had made them and had then ended."""
    text = path.read_text().replace(NAMESPACE, namespace)
    distillation = next(iter(yaml.safe_load_all(text)))
    _apply_until_generation(
        cluster,
        {key: value for key, value in distillation.items() if key != "status"},
        distillation["status"]["observedGeneration"],
    )
    uid = cluster.get("distillation", distillation["metadata"]["name"], namespace)["metadata"]["uid"]
    first, *children = yaml.safe_load_all(text.replace(UID_START, uid.partition("-")[0]).replace(UID, uid))
    as_operator = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}")
    cluster.apply(first, None, *as_operator, "--subresource=status")
    cluster.apply(children, None, *as_operator)


def _apply_until_generation(cluster: Cluster, distillation: Manifest, generation: int) -> None:
    """Apply it so often that its generation is the recorded one."""
    for number in reversed(range(generation)):
        cluster.apply({**distillation, "spec": {**distillation["spec"], "suspend": bool(number % 2)}})


def main(target: Path) -> None:
    """Record into the folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as chosen,
        ControlPlane(ensure_binaries(), Path(chosen)) as plane,
        ProcessNode(plane, Path(chosen) / "node") as node,
    ):
        recorded = record(plane, node, Path(chosen))
    for name, objects in recorded.items():
        (target / f"{name}.yaml").write_text(_HEADER + yaml.safe_dump_all(objects, sort_keys=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
