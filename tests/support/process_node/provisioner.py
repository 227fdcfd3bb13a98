"""Dynamic volumes: a folder of this machine for each claim.

The binding is the real controllers' work; this makes the PersistentVolume that they wait for, and removes it with
its folder when the claim is deleted.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from process_node.kube_api import KubeApi, Object, create_unless_there, follow

STORAGE_CLASS = "standard"
PROVISIONER = "folders.distillery.dev/process-node"
BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


class Provisioner:
    """Serves the default storage class; volumes lie below `folder`."""

    def __init__(self, api: KubeApi, folder: Path, stop: threading.Event) -> None:
        self._api, self._folder, self._stop = api, folder, stop

    def start(self) -> None:
        """Create the storage class and watch claims and volumes from now on."""
        self._ensure_storage_class()
        watched = {
            "/api/v1/persistentvolumeclaims": self._on_claim,
            "/api/v1/persistentvolumes": self._on_volume,
        }
        for path, handle in watched.items():
            threading.Thread(target=follow, args=[self._api, path, handle, self._stop], daemon=True).start()

    def folder_of(self, claim: Object) -> Path:
        """Where the files of a claim lie."""
        metadata = claim["metadata"]
        return self._folder / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"

    def _ensure_storage_class(self) -> None:
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        }
        create_unless_there(self._api, "/apis/storage.k8s.io/v1/storageclasses", body)

    def _on_claim(self, kind: str, claim: Object) -> None:
        """A claim that a scheduled pod waits for gets its volume."""
        metadata, spec = claim["metadata"], claim["spec"]
        node = metadata.get("annotations", {}).get(SELECTED_NODE)
        is_ours = spec.get("storageClassName") == STORAGE_CLASS and not spec.get("volumeName")
        if kind == "DELETED" or "deletionTimestamp" in metadata or not is_ours or node is None:
            return
        folder = self.folder_of(claim)
        folder.mkdir(parents=True, exist_ok=True)
        create_unless_there(self._api, "/api/v1/persistentvolumes", _volume(claim, folder, node))

    def _on_volume(self, kind: str, volume: Object) -> None:
        """A volume whose claim is gone goes with its folder."""
        metadata, spec = volume["metadata"], volume["spec"]
        released = volume.get("status", {}).get("phase") == "Released"
        deletes = spec.get("persistentVolumeReclaimPolicy") == "Delete"
        if kind == "DELETED" or not released or not deletes or metadata.get("annotations", {}).get(BY) != PROVISIONER:
            return
        shutil.rmtree(spec["hostPath"]["path"], ignore_errors=True)
        self._api.delete(f"/api/v1/persistentvolumes/{metadata['name']}")


def _volume(claim: Object, folder: Path, node: str) -> Object:
    metadata, spec = claim["metadata"], claim["spec"]
    body: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}", "annotations": {BY: PROVISIONER}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                **{key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
            },
            "hostPath": {"path": str(folder), "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": STORAGE_CLASS,
            "volumeMode": "Filesystem",
        },
    }
    if "ReadWriteMany" not in spec["accessModes"]:
        # A volume for one node can only be used there, as a disk in a zone would be.
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        body["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    return body
