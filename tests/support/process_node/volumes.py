"""A pod's volumes as folders of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from process_node.environment import expand
from process_node.kube_api import KubeApi, NotFound, Object
from process_node.references import ReferenceMissing, References
from process_node.sandbox import Mount

ALWAYS_READ_ONLY = ("configMap", "secret", "projected", "downwardAPI")


class MountFailed(Exception):
    """A volume cannot be set up yet; the text is the kubelet's."""


class PodVolumes:
    """The volumes of one pod, below a folder that goes with it; claims keep their own folder."""

    def __init__(self, folder: Path, pod: Object, api: KubeApi, references: References) -> None:
        self._folder = folder
        self._pod = pod
        self._api = api
        self._references = references
        self._read_only: set[str] = set()
        self._sources: dict[str, Path] = {}

    def set_up(self) -> None:
        """Make or find every volume's folder. Raises MountFailed when one cannot be there yet."""
        for volume in self._pod["spec"].get("volumes", []):
            name = volume["name"]
            if name in self._sources:
                continue
            try:
                self._sources[name] = self._prepare(volume)
            except (ReferenceMissing, NotFound) as problem:
                raise MountFailed(f'MountVolume.SetUp failed for volume "{name}" : {problem}') from problem

    def mounts(self, container: Object, environment: dict[str, str]) -> list[Mount]:
        """Where a container sees which volume."""
        return [self._mount(entry, environment) for entry in container.get("volumeMounts", [])]

    def remove(self) -> None:
        """Delete what belongs to the pod alone."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _mount(self, entry: Object, environment: dict[str, str]) -> Mount:
        source = self._sources[entry["name"]]
        sub_path = expand(entry.get("subPathExpr", ""), environment) or entry.get("subPath", "")
        if sub_path:
            source = source / sub_path
            if not source.exists():
                source.mkdir(parents=True)
        return Mount(source, entry["mountPath"], bool(entry.get("readOnly")) or entry["name"] in self._read_only)

    def _prepare(self, volume: Object) -> Path:
        folder: Path = self._folder / volume["name"]
        if any(kind in volume for kind in ALWAYS_READ_ONLY):
            self._read_only.add(volume["name"])
        if "persistentVolumeClaim" in volume:
            return self._claim(volume["name"], volume["persistentVolumeClaim"])
        if "emptyDir" not in volume and volume["name"] not in self._read_only:
            raise MountFailed(f"the process node knows no volume like {sorted(set(volume) - {'name'})}")
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in self._files(volume).items():
            _write(folder / path, content)
        return folder

    def _claim(self, volume: str, reference: Object) -> Path:
        claim = self._api.get(
            f"/api/v1/namespaces/{self._references.namespace}/persistentvolumeclaims/{reference['claimName']}"
        )
        if claim.get("status", {}).get("phase") != "Bound":
            raise MountFailed(f'persistentvolumeclaim "{reference["claimName"]}" not bound')
        if reference.get("readOnly"):
            self._read_only.add(volume)
        bound = self._api.get(f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        return Path(bound["spec"]["hostPath"]["path"])

    def _files(self, source: Object) -> dict[str, bytes]:
        """The files of a configMap, secret, downwardAPI or projected volume, or of one source of the last."""
        if "projected" in source:
            parts = [self._files(part) for part in source["projected"].get("sources", [])]
            return {path: content for part in parts for path, content in part.items()}
        if "serviceAccountToken" in source:
            token = source["serviceAccountToken"]
            seconds = int(token.get("expirationSeconds", 3600))
            return {token["path"]: self._references.service_account_token(token.get("audience"), seconds).encode()}
        if "downwardAPI" in source:
            return {item["path"]: self._downward(item) for item in source["downwardAPI"].get("items", [])}
        if "configMap" in source:
            return self._selected(source["configMap"], "configMap")
        return self._selected(source["secret"], "secret") if "secret" in source else {}

    def _downward(self, item: Object) -> bytes:
        if "fieldRef" in item:
            return self._references.field(item["fieldRef"]["fieldPath"]).encode()
        named = item["resourceFieldRef"]["containerName"]
        container = next(each for each in self._pod["spec"]["containers"] if each["name"] == named)
        return self._references.resource(container, item["resourceFieldRef"]).encode()

    def _selected(self, source: Object, kind: str) -> dict[str, bytes]:
        name = source.get("secretName") or source["name"]
        optional = bool(source.get("optional"))
        read = self._references.secret if kind == "secret" else self._references.config_map
        entries = read(name, optional)
        items = source.get("items")
        if not items:
            return entries
        missing = [item["key"] for item in items if item["key"] not in entries]
        if missing and not optional:
            raise ReferenceMissing(f"references non-existent {kind} key: {missing[0]}")
        return {item["path"]: entries[item["key"]] for item in items if item["key"] in entries}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
