"""Merges a user's partial Pod template over a generated one, as Kubernetes' strategic merge does.

Lists of named items are merged by name, lists that can only grow (tolerations, affinity terms) are appended to, and
every other list replaces the generated one. Of the ways to probe a container or to end it there can be one: the
user's replaces ours. What a stage cannot run without is kept as generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distillery_api.spec.stage_options import RESERVED_LABEL_PREFIXES
from distillery_operator.planning.names import STAGE_CONTAINER

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
}
_HANDLERS = frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"})
_DEEP = {"containers", "initContainers"}
_APPENDED = {
    "tolerations",
    "envFrom",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
}
_RESERVED_IN_CONTAINER = ("command", "args", "workingDir", "terminationMessagePath", "terminationMessagePolicy")

Items = list[dict[str, Any]]


def merged_template(
    generated: Mapping[str, Any], user: Mapping[str, Any], reserved_volumes: frozenset[str]
) -> dict[str, Any]:
    """The Pod template `user` over `generated`, with restartPolicy, our labels, and the generated container's command,
    mounts and volumes as generated."""
    merged = merged_map(generated, user)
    ours = {
        key: each for key, each in generated["metadata"]["labels"].items() if key.startswith(RESERVED_LABEL_PREFIXES)
    }
    labels = {**merged["metadata"]["labels"], **ours}
    spec = _reserved_spec(merged["spec"], generated["spec"], reserved_volumes)
    return {"metadata": {**merged["metadata"], "labels": labels}, "spec": spec}


def merged_map(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One part of a Pod template over another."""
    replaced = _HANDLERS if _HANDLERS & set(above) else frozenset()
    return {
        **{key: value for key, value in below.items() if key in above or key not in replaced},
        **{key: _merged(key, below[key], value) if key in below else value for key, value in above.items()},
    }


def _merged(key: str, below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return merged_map(below, above)
    if isinstance(below, list) and isinstance(above, list):
        return _merged_list(key, below, above)
    return above


def _merged_list(key: str, below: Items, above: Items) -> Items:
    if key in _APPENDED:
        return [*below, *(item for item in above if item not in below)]
    if key in _KEYS:
        return _merged_by(_KEYS[key], below, above, merged_map if key in _DEEP else _replaced)
    return above


def _replaced(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """An item replaces the one of the same name as a whole: half of a volume or of a variable makes no sense."""
    return dict(above)


def _merged_by(
    name: str, below: Items, above: Items, combine: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
) -> Items:
    items = {item.get(name): item for item in below}
    for item in above:
        key = item.get(name)
        items[key] = combine(items[key], item) if key in items else item
    return list(items.values())


def _reserved_spec(
    merged: dict[str, Any], generated: Mapping[str, Any], reserved_volumes: frozenset[str]
) -> dict[str, Any]:
    ours = [volume for volume in generated["volumes"] if volume["name"] in reserved_volumes]
    spec = {
        **merged,
        "volumes": _merged_by("name", merged["volumes"], ours, _replaced),
        "containers": [_reserved_container(each, generated) for each in merged["containers"]],
    }
    return spec | {key: generated[key] for key in ("restartPolicy",) if key in generated}


def _reserved_container(merged: dict[str, Any], generated: Mapping[str, Any]) -> dict[str, Any]:
    if merged.get("name") != STAGE_CONTAINER:
        return merged
    ours = next(each for each in generated["containers"] if each["name"] == STAGE_CONTAINER)
    free = {key: value for key, value in merged.items() if key not in _RESERVED_IN_CONTAINER}
    fixed = {key: ours[key] for key in _RESERVED_IN_CONTAINER if key in ours}
    return {
        **free,
        **fixed,
        "volumeMounts": _merged_by("mountPath", merged["volumeMounts"], ours["volumeMounts"], _replaced),
    }
