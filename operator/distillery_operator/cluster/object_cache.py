"""What this process knows of the cluster: the newest version seen of every Distillation and every child.

It is fed by the events of the watches, by what the API server answers to our own writes, and by lists; any of these may
come late, twice or in another order. Versions of one kind of object are numbers that only grow (Kubernetes 1.35,
KEP 5504), so the newest one wins whatever the order, and a deletion counts until a newer version of that name appears.
Nothing here may be newer than the server, but it may be older: whoever acts on it has to be harmless then.

Objects are kept compressed, since thousands of them are read a few times a day.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from distillery_api.resource import KIND
from distillery_api.spec import RouteKind
from distillery_operator.planning import names

Manifest = dict[str, Any]
Name = tuple[str, str]
"""Namespace and name."""

OPTIONAL_KINDS = tuple(str(kind) for kind in RouteKind)
"""Kinds that a cluster need not serve."""
REQUIRED_KINDS = (
    KIND,
    "Job",
    "Pod",
    "Deployment",
    "Service",
    "PodDisruptionBudget",
    "PersistentVolumeClaim",
    "ConfigMap",
)
KINDS = REQUIRED_KINDS + OPTIONAL_KINDS
"""What is kept: all Distillations, and the children by their label."""

_UNREAD_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_FAST = 1


class _Stored(NamedTuple):
    version: int
    owner: str
    content: bytes
    host: str
    """Of a Distillation: the one whose server it shares; empty for none."""


class _Objects:
    """The objects of one kind."""

    def __init__(self) -> None:
        self.stored: dict[Name, _Stored] = {}
        self.owned: dict[Name, set[Name]] = {}
        """Names by the namespace and name of their Distillation."""
        self.guests: dict[Name, set[Name]] = {}
        """Distillations by the namespace and name of the one whose server they share."""
        self.gone: dict[Name, int] = {}
        """The version at which an object was deleted; older events about it may still be under way."""
        self.listed: dict[str | None, int] = {}
        """The version of the last complete list of a namespace or (None) of all: what it lacked did not exist."""

    def known_version(self, name: Name) -> int:
        """Of an object, or of the latest sign that there is none."""
        if name in self.stored:
            return self.stored[name].version
        return max(self.gone.get(name, 0), self.listed.get(name[0], 0), self.listed.get(None, 0))

    def store(self, name: Name, stored: _Stored) -> None:
        self._drop(name)
        self.stored[name] = stored
        self.owned.setdefault((name[0], stored.owner), set()).add(name)
        if stored.host:
            self.guests.setdefault((name[0], stored.host), set()).add(name)

    def delete(self, name: Name, version: int) -> bool:
        """Note that the object was deleted at `version`; returns whether it was known."""
        self.gone[name] = max(version, self.gone.get(name, 0))
        stored = self.stored.get(name)
        return stored is not None and stored.version <= version and self._drop(name)

    def list_ended(self, namespace: str | None, version: int) -> None:
        """Note the version of a complete list; it makes the deletions before it redundant."""
        self.listed[namespace] = max(version, self.listed.get(namespace, 0))
        covered = {name for name, at in self.gone.items() if namespace in (None, name[0]) and at <= version}
        self.gone = {name: at for name, at in self.gone.items() if name not in covered}

    def _drop(self, name: Name) -> bool:
        stored = self.stored.pop(name, None)
        if stored is None:
            return False
        _remove(self.owned, (name[0], stored.owner), name)
        if stored.host:
            _remove(self.guests, (name[0], stored.host), name)
        return True


class ObjectCache:
    """The objects that are known. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._kinds = {kind: _Objects() for kind in KINDS}

    # --- what is read

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, or None where none is known. The caller may change what it gets."""
        stored = self._kinds[kind].stored.get((namespace, name))
        return _manifest(kind, stored) if stored else None

    def children(self, kind: str, namespace: str, owner: str) -> tuple[Manifest, ...]:
        """The objects of one kind that belong to the Distillation `owner`, by name."""
        objects = self._kinds[kind]
        return tuple(
            _manifest(kind, objects.stored[name]) for name in sorted(objects.owned.get((namespace, owner), ()))
        )

    def version(self, kind: str, namespace: str, name: str) -> int:
        """The version that is known of an object; 0 where none is."""
        stored = self._kinds[kind].stored.get((namespace, name))
        return stored.version if stored else 0

    def owner(self, kind: str, namespace: str, name: str) -> str:
        """The name of the Distillation that a known object belonged to when it was seen last; empty where none is
        known."""
        stored = self._kinds[kind].stored.get((namespace, name))
        return stored.owner if stored else ""

    def host(self, namespace: str, name: str) -> str:
        """The name of the Distillation whose server a known one shares; empty for none."""
        stored = self._kinds[KIND].stored.get((namespace, name))
        return stored.host if stored else ""

    def guests(self, namespace: str, host: str) -> tuple[str, ...]:
        """The names of the Distillations that share the server of `host`."""
        return tuple(sorted(name for _, name in self._kinds[KIND].guests.get((namespace, host), ())))

    def keys(self, namespace: str | None) -> tuple[Name, ...]:
        """Namespace and name of the Distillations in one namespace or (None) in all."""
        return tuple(name for name in self._kinds[KIND].stored if namespace in (None, name[0]))

    def __len__(self) -> int:
        """How many objects are known."""
        return sum(len(objects.stored) for objects in self._kinds.values())

    @property
    def size(self) -> int:
        """Bytes of all that is kept, as it is kept."""
        return sum(len(stored.content) for objects in self._kinds.values() for stored in objects.stored.values())

    # --- what feeds it; each returns whether anything that is read has changed

    def put(self, kind: str, manifest: Mapping[str, Any]) -> bool:
        """Take over an object as the API server had it at its version."""
        if not is_kept(kind, manifest):
            return self.delete(kind, manifest)
        objects, name, version = self._kinds[kind], _name(manifest), _version(manifest)
        if version <= objects.known_version(name):
            return False
        before, content = objects.stored.get(name), _content(manifest)
        objects.store(name, _Stored(version, owner(kind, manifest), content, _host(kind, manifest)))
        return before is None or before.content != content

    def delete(self, kind: str, manifest: Mapping[str, Any]) -> bool:
        """The object was deleted, or is no longer ours to know; its version is that of the deletion."""
        return self._kinds[kind].delete(_name(manifest), _version(manifest))

    def absent(self, kind: str, namespace: str, name: str, version: int) -> bool:
        """The server has no object of that name although `version` of it was known before the request."""
        is_newer = self.version(kind, namespace, name) != version
        return not is_newer and self._kinds[kind].delete((namespace, name), version)

    def keep_only(self, kind: str, namespace: str | None, listed: Collection[Name], version: str) -> tuple[Name, ...]:
        """Drop what a complete list at `version` does not have, in one namespace or (None) in all.

        Returns the namespaces and owners of what is dropped, and the hosts: the events about these deletions never
        arrived.
        """
        objects, at = self._kinds[kind], _number(version)
        missing = [
            (name, stored)
            for name, stored in objects.stored.items()
            if namespace in (None, name[0]) and name not in listed and stored.version <= at
        ]
        for name, _ in missing:
            objects.delete(name, at)
        objects.list_ended(namespace, at)
        return tuple((name[0], each) for name, stored in missing for each in (stored.owner, stored.host) if each)


def _remove(index: dict[Name, set[Name]], key: Name, name: Name) -> None:
    index[key].discard(name)
    if not index[key]:
        del index[key]


def is_kept(kind: str, manifest: Mapping[str, Any]) -> bool:
    """Whether an object is one that the watches report."""
    return kind == KIND or _labels(manifest).get(names.MANAGED_BY_LABEL) == names.MANAGER


def owner(kind: str, manifest: Mapping[str, Any]) -> str:
    """The name of the Distillation that an object is, or belongs to; empty where it does not say."""
    return str(manifest["metadata"]["name"] if kind == KIND else _labels(manifest).get(names.NAME_LABEL, ""))


def _host(kind: str, manifest: Mapping[str, Any]) -> str:
    serving = (manifest.get("spec") or {}).get("serving") if kind == KIND else None
    return str((serving or {}).get("sharedServer") or "")


def listed_names(manifests: Iterable[Mapping[str, Any]]) -> Iterable[Name]:
    """Namespace and name of each object."""
    return map(_name, manifests)


def _labels(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = manifest["metadata"].get("labels") or {}
    return labels


def _name(manifest: Mapping[str, Any]) -> Name:
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(manifest: Mapping[str, Any]) -> int:
    return _number(str(manifest["metadata"].get("resourceVersion", "")))


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0


def _content(manifest: Mapping[str, Any]) -> bytes:
    """The object without what nobody reads; its version is kept beside it, so that two contents can be compared."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _UNREAD}
    annotations = metadata.get("annotations") or {}
    if _UNREAD_ANNOTATION in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _UNREAD_ANNOTATION}
    text = json.dumps({**manifest, "metadata": metadata}, separators=(",", ":"))
    return zlib.compress(text.encode(), _FAST)


_UNREAD = ("managedFields", "resourceVersion", "selfLink")


def _manifest(kind: str, stored: _Stored) -> Manifest:
    manifest: Manifest = json.loads(zlib.decompress(stored.content))
    manifest["metadata"]["resourceVersion"] = str(stored.version)
    return {"kind": kind, **manifest}
